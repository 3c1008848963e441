import type { TestHost } from '../test/host/host.ts'
import type { Measurement } from './bench-client.ts'
import type { Bench } from './bench-turns.ts'

const manager = ['org.freedesktop.machine1', '/org/freedesktop/machine1', 'org.freedesktop.machine1.Manager']
const container = 'bench'
/** What is copied into a machine: the row's name and how to make it at `$0`. */
const rows = {
  'CopyTo, 10,000 files': `
    for directory in $(seq 100); do
      mkdir -p "$0/$directory"
      (cd "$0/$directory"; head -c 102400 /dev/urandom | split -b 1024)
    done`,
  'CopyTo, 1 GB': 'head -c 1000M /dev/urandom >"$0"'
}
/** A tree of 2 GB, in files of 64 KB and 64 MB. */
const bigTree = `
  mkdir "$0"
  cd "$0"
  head -c 64M /dev/urandom >block
  for number in $(seq 2 16); do cp --reflink=never block "$number"; done
  for directory in $(seq 16); do
    mkdir "small-$directory"
    (cd "small-$directory"; split -b 64K ../block)
  done`

/** Copies into a container from both daemons, and asks them other things meanwhile. */
export async function measureCopies(host: TestHost, { client, takeTurns, add }: Bench): Promise<void> {
  await host.startContainer(container, ['-U'])
  const copy = (source: string, target = '/copied'): Promise<unknown> =>
    host.run(['busctl', '--timeout=120', 'call', ...manager, 'CopyToMachine', 'sss', container, source, target])
  const remove = (): Promise<unknown> => host.run(['sh', '-c', `rm -rf /var/lib/machines/${container}/copied*`])

  for (const [name, make] of Object.entries(rows)) {
    await host.run(['sh', '-euc', make, '/root/copied'])
    await takeTurns(async (daemon) => {
      // As with other calls, what the very first one starts is not counted.
      await copy('/etc/hostname')
      await remove()
      for (const row of [`${name}, the first time`, name]) {
        const start = performance.now()
        await copy('/root/copied')
        add(daemon, row, 'ms', performance.now() - start)
        await remove()
      }
    })
    await host.run(['rm', '-r', '/root/copied'])
  }

  await host.run(['sh', '-euc', bigTree, '/root/copied'])
  await takeTurns(async (daemon) => {
    const state = { isMeasured: false }
    const measuring = client('measure', 'Ping').finally(() => (state.isMeasured = true)) as Promise<Measurement>
    for (let number = 0; !state.isMeasured; number++) await copy('/root/copied', `/copied-${number}`)
    const { p50, p99 } = await measuring
    add(daemon, 'Ping while 2 GB are copied: p50', 'us', p50)
    add(daemon, 'Ping while 2 GB are copied: p99', 'us', p99)
    await remove()
  })
  await host.run(['rm', '-r', '/root/copied'])
}
