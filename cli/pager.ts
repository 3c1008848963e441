import { spawnSync } from 'node:child_process'

/** Shows a text page by page on a terminal as systemd's programs do, or writes it where there is none to page on. */
export function showPaged(text: string, wanted: boolean): void {
  if (!wanted || !process.stdout.isTTY || !runPager(text)) process.stdout.write(text)
}

/** Whether there is a pager that took the text. */
function runPager(text: string): boolean {
  const command = process.env['SYSTEMD_PAGER'] ?? process.env['PAGER'] ?? 'less'
  if (command === '' || command === 'cat') return false
  // Quit if it fits one screen, raw colours, chop long lines; and no commands from within less, for who runs us as root.
  const env = { ...process.env, LESS: process.env['SYSTEMD_LESS'] ?? 'FRSXMK', LESSSECURE: '1' }
  const [file = '', ...args] = command.split(/\s+/)
  const { error } = spawnSync(file, args, { input: text, stdio: ['pipe', 'inherit', 'inherit'], env })
  return (error as NodeJS.ErrnoException | undefined)?.code !== 'ENOENT'
}
