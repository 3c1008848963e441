import { execa } from 'execa'
import { TestHost } from './host.ts'

// `make shell`: a terminal on a disposable host with our machined and one running container.
const host = await TestHost.start()
try {
  await host.startContainer('demo')
  process.stdout.write('A disposable host with our machined; the container "demo" is running. Leave with "exit".\n')
  // Ctrl-C is for the shell in the host, not for this process.
  process.on('SIGINT', () => undefined)
  const [file, ...args] = host.enterCommand(['bash', '-i'])
  await execa(file, args, { stdio: 'inherit', reject: false })
} finally {
  await host.stop()
}
