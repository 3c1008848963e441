import t from 'tap'
import { TestHost } from '../host/host.ts'
import { daemonPid, openDescriptors, residentMemory, startLeaders, stressClient } from './stress.ts'

const WARM_UP = 3_000
const CYCLES = 7_000
const GROWTH_MIB = 15

const host = await TestHost.start()
t.teardown(() => host.stop())

t.test(`${WARM_UP + CYCLES} registrations leave descriptors and memory as they were`, async (t) => {
  const stress = await stressClient(host)
  const leaders = await startLeaders(host, 4)
  await host.run(['systemctl', 'start', 'systemd-machined.service'])
  const pid = await daemonPid(host)
  await stress('cycles', WARM_UP, ...leaders)
  const descriptors = await openDescriptors(host)
  const memory = await residentMemory(host)
  await stress('cycles', CYCLES, ...leaders)
  await host.waitFor(async () => (await openDescriptors(host)) <= descriptors, 'the descriptors to be closed')
  const grown = (await residentMemory(host)) - memory
  t.ok(grown < GROWTH_MIB, `memory grew by ${grown.toFixed(1)} MiB`)
  t.comment(`${memory.toFixed(1)} MiB after the warm-up, ${grown.toFixed(1)} MiB more in the end`)
  t.equal(await daemonPid(host), pid, 'it is still the same daemon')
  t.equal((await host.run(['ls', '-A', '/run/systemd/machines'])).stdout, '')
})
