import type { TestHost } from '../test/host/host.ts'
import type { Measurement } from './bench-client.ts'
import type { Bench } from './bench-turns.ts'

const manager = ['org.freedesktop.machine1', '/org/freedesktop/machine1', 'org.freedesktop.machine1.Manager']
const pool = '/var/lib/machines'
/** A pool with as many images as lists are made of; one of them says what is in it. */
const makeImages = `
  mkdir -p ${pool}
  cd ${pool}
  mkdir -p bench-image/etc $(seq -f other-%g 999)
  cp /etc/os-release bench-image/etc/`
/** An image that is cloned and removed. */
const makeManyFiles = `
  for directory in $(seq 200); do
    mkdir -p ${pool}/many/$directory
    (cd ${pool}/many/$directory; head -c 102400 /dev/urandom | split -b 1024)
  done`

/** Lists, looks into, clones and removes images. */
export async function measureImages(host: TestHost, bench: Bench): Promise<void> {
  await host.run(['sh', '-euc', makeImages])
  await measureCalls(bench, { ListImages: 'ListImages, 1000 images' })
  // The test host's own file system is an overlayfs, where each look at a file takes several times as long as on a disk's.
  await host.run(['mount', '-t', 'tmpfs', 'pool', pool])
  await host.run(['sh', '-euc', makeImages])
  await measureCalls(bench, {
    ListImages: 'ListImages, 1000 on tmpfs',
    GetImageOSRelease: 'GetImageOSRelease',
    'GetAll of an image': 'GetAll of an image'
  })
  await host.run(['umount', pool])
  await host.run(['sh', '-euc', `rm -r ${pool}/other-*`])
  await measureClones(host, bench)
}

async function measureCalls({ client, takeTurns, add }: Bench, calls: Readonly<Record<string, string>>): Promise<void> {
  await takeTurns(async (daemon) => {
    for (const [call, name] of Object.entries(calls)) {
      const { p50, p99, perSecond } = (await client('measure', call)) as Measurement
      add(daemon, `${name}: p50`, 'us', p50)
      add(daemon, `${name}: p99`, 'us', p99)
      add(daemon, `${name}: 32 in flight`, 'calls/s', perSecond)
    }
  })
}

async function measureClones(host: TestHost, { takeTurns, add }: Bench): Promise<void> {
  await host.run(['sh', '-euc', makeManyFiles])
  const call = (...args: string[]): Promise<unknown> =>
    host.run(['busctl', '--timeout=120', 'call', ...manager, ...args])
  await takeTurns(async (daemon) => {
    const take = async (name: string, ...args: string[]): Promise<void> => {
      const start = performance.now()
      await call(...args)
      add(daemon, name, 'ms', performance.now() - start)
    }
    // As with other calls, what the first one starts is not counted.
    await call('CloneImage', 'ssb', 'bench-image', 'small', 'false')
    await call('RemoveImage', 's', 'small')
    await take('CloneImage, 20,000 files', 'CloneImage', 'ssb', 'many', 'copy', 'false')
    await take('RemoveImage, 20,000 files', 'RemoveImage', 's', 'copy')
  })
}
