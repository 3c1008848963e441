import type { TestHost } from '../host/host.ts'

/**
 * Follows links, addresses and routes in the network that `enter` leads to; what is returned ends that, and gives the lines
 * of ip-monitor(8) for all that happened till then.
 */
export async function followLinks(host: TestHost, ...enter: string[]): Promise<() => Promise<string[]>> {
  const monitor = host.spawn([...enter, 'ip', '-o', 'monitor', 'link', 'address', 'route'])
  let text = ''
  monitor.stdout.setEncoding('utf8').on('data', (more: string) => (text += more))
  const hasSeen = async (mtu: number): Promise<boolean> => {
    await host.run([...enter, 'ip', 'link', 'set', 'lo', 'mtu', String(mtu)])
    return text.includes(`mtu ${mtu} `)
  }
  await host.waitFor(async () => (await hasSeen(64_000)) || hasSeen(64_001), 'the monitor to follow')
  return async () => {
    await host.waitFor(() => hasSeen(65_536), 'the monitor to have shown all')
    monitor.kill()
    return text.split('\n')
  }
}
