import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readlinkSync } from 'node:fs'
import t from 'tap'
import { execa } from 'execa'
import { NetworkNamespace } from '../../daemon/linux/namespace.ts'
import { PidRef } from '../../daemon/linux/process.ts'
import { ThrowAwayNetwork } from './throw-away-network.ts'

const ours = (): string => readlinkSync('/proc/thread-self/ns/net')
const skip = process.getuid?.() !== 0

t.test('work is done in the network of a process, and only that', { skip }, async (t) => {
  const network = await ThrowAwayNetwork.start('')
  t.teardown(() => network.stop())
  using own = new NetworkNamespace()
  const before = ours()
  const theirs = readlinkSync(`/proc/${String(network.process.pid)}/ns/net`)
  t.not(theirs, before)
  t.equal(own.inside(network.process, ours), theirs)
  t.equal(ours(), before)
  const fail = (): never => {
    throw new RangeError('work')
  }
  t.throws(() => {
    own.inside(network.process, fail)
  }, RangeError)
  t.equal(ours(), before, 'also when the work fails')
})

t.test('a process that shares our network is told apart', (t) => {
  using own = new NetworkNamespace()
  using self = PidRef.pin(process.pid)
  t.equal(
    own.inside(self, () => 'not run'),
    undefined
  )
  t.end()
})

t.test('a process that is gone gives ESRCH', async (t) => {
  using own = new NetworkNamespace()
  const child = spawn('sleep', ['infinity'])
  using gone = PidRef.pin(child.pid ?? 0)
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.throws(() => own.inside(gone, ours), { code: 'ESRCH' })
  // Its number now stands for another.
  Object.defineProperty(gone, 'pid', { value: process.pid })
  t.throws(() => own.inside(gone, ours), { code: 'ESRCH' })
})

t.test('whoever cannot come back ends', { skip }, async (t) => {
  const network = await ThrowAwayNetwork.start('')
  t.teardown(() => network.stop())
  const code = `
    import { NetworkNamespace } from ${JSON.stringify(import.meta.resolve('../../daemon/linux/namespace.ts'))}
    import { PidRef } from ${JSON.stringify(import.meta.resolve('../../daemon/linux/process.ts'))}
    const own = new NetworkNamespace()
    own.inside(PidRef.pin(${String(network.process.pid)}), () => process.seteuid(65534))
    console.log('still there')
  `
  const child = await execa(process.execPath, [...process.execArgv, '--input-type=module', '--eval', code], {
    reject: false
  })
  t.match(child, { exitCode: 1, stdout: '', stderr: /Cannot return to the own network namespace, exiting: EPERM/ })
})
