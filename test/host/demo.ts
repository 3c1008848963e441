import { TestHost, type RunResult } from './host.ts'

// `make demo`: our machined at work on a disposable host, checked step by step. Exits with 1 when a step goes wrong.
const NAME = 'demo'

async function step(host: TestHost, argv: readonly string[], expected: RegExp): Promise<void> {
  process.stdout.write(`\n$ ${argv.join(' ')}\n`)
  const result: RunResult = await host.run(argv, { reject: false })
  process.stdout.write(`${[result.stdout, result.stderr].filter((text) => text !== '').join('\n')}\n`)
  if (result.exitCode !== 0) throw new Error(`${argv.join(' ')} exited with ${String(result.exitCode)}`)
  if (!expected.test(result.stdout)) throw new Error(`${argv.join(' ')} printed nothing like ${String(expected)}`)
}

async function demo(): Promise<void> {
  process.stdout.write('Booting a disposable Debian 13 host with our machined ...\n')
  const host = await TestHost.start()
  try {
    process.stdout.write(`Starting a container with systemd-nspawn ...\n`)
    await host.startContainer(NAME)
    await step(host, ['systemctl', 'show', '--property=ExecStart', 'systemd-machined.service'], /node/)
    await step(host, ['machinectl', 'list'], /^demo +container +systemd-nspawn/m)
    await step(host, ['machinectl', 'show', NAME], /^Name=demo$[^]*^State=running$/m)
    await step(host, ['machinectl', 'status', NAME], /Leader: \d+[^]*Unit: machine-demo\.scope/)
    // Harmless to systemd, which is PID 1 of the container: it only opens its bus connection anew.
    await step(host, ['machinectl', 'kill', NAME, '--kill-whom=leader', '--signal=SIGUSR1'], /^$/)
    await step(host, ['machinectl', 'terminate', NAME], /^$/)
    const isGone = async (): Promise<boolean> =>
      (await host.run(['machinectl', 'show', NAME], { reject: false })).exitCode !== 0
    await host.waitFor(isGone, 'the container to be gone')
    await step(host, ['machinectl', 'list'], /^No machines\.$/)
    process.stdout.write('\nAll steps went as they should.\n')
  } finally {
    await host.stop()
  }
}

try {
  await demo()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
