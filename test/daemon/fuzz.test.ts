import { build } from 'esbuild'
import { join } from 'node:path'
import t from 'tap'
import { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'
import { daemonPid, openDescriptors, residentMemory } from './stress.ts'

const SEED = 20_262
const WARM_UP = 10_000
const MESSAGES = 200_000
const GROWTH_MIB = 15
// Beside the daemon, where it finds koffi.
const CLIENT = '/usr/local/lib/machined/daemon/fuzz-client.mjs'

const host = await TestHost.start()
t.teardown(() => host.stop())

async function fuzz(seed: number, count: number): Promise<{ sent: number; answered: number }> {
  const argv = ['env', '-u', 'NODE_OPTIONS', '/usr/bin/node', CLIENT, String(seed), String(count)]
  return JSON.parse((await host.run(argv)).stdout) as { sent: number; answered: number }
}

t.test(`${String(MESSAGES)} broken and sound Varlink messages harm nobody`, async (t) => {
  const { outputFiles } = await build({
    entryPoints: [join(projectDirectory(), 'test/daemon/fuzz-client.ts')],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
    external: ['koffi']
  })
  await host.writeFile(CLIENT, outputFiles[0]?.text ?? '')
  await host.run(['systemctl', 'start', 'systemd-machined.service'])
  const pid = await daemonPid(host)
  await fuzz(SEED + 1, WARM_UP)
  const descriptors = await openDescriptors(host)
  const memory = await residentMemory(host)
  const { sent, answered } = await fuzz(SEED, MESSAGES)
  t.ok(sent >= MESSAGES, `${String(sent)} messages were sent`)
  t.ok(answered > MESSAGES / 2, `${String(answered)} of these were calls, and answered`)
  await host.waitFor(async () => (await openDescriptors(host)) <= descriptors, 'the descriptors to be closed')
  const grown = (await residentMemory(host)) - memory
  t.ok(grown < GROWTH_MIB, `memory grew by ${grown.toFixed(1)} MiB`)
  t.equal(await daemonPid(host), pid, 'it is still the same daemon')
  const { stdout } = await host.run(['journalctl', '-u', 'systemd-machined', '-o', 'cat', '--no-pager'])
  t.notMatch(stdout, /because of a bug/)
})
