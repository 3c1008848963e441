import type { TestHost } from '../host/host.ts'

/** What nft(8) shows of all that happens to rules while something is done. `work` may ask for what it has shown so far. */
export async function rulesSeen(host: TestHost, work: (soFar: () => string) => Promise<unknown>): Promise<string> {
  const monitor = host.spawn(['nft', 'monitor'])
  let text = ''
  monitor.stdout.setEncoding('utf8').on('data', (more: string) => (text += more))
  const shows = async (name: string): Promise<boolean> => {
    await host.run(['nft', `table inet ${name}; delete table inet ${name}`])
    return text.includes(`table inet ${name}`)
  }
  await host.waitFor(() => shows('before'), 'the monitor to follow')
  await work(() => text)
  await host.waitFor(() => shows('after'), 'the monitor to have shown all')
  monitor.kill()
  return text
}
