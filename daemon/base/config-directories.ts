/** Where files of a folder of configuration are looked for, what counts most first (systemd.unit(5)). */
export function configDirectories(folder: string): string[] {
  return ['/etc', '/run', '/usr/local/lib', '/usr/lib'].map((directory) => `${directory}/${folder}`)
}
