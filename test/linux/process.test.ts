import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import t from 'tap'
import { cgroupPath, ownsProcess, parentPid, PidRef, realUid } from '../../daemon/linux/process.ts'
import { pidfdOpen, closeFd } from '../../daemon/linux/libc.ts'

t.test('a living process', (t) => {
  using ref = PidRef.pin(process.pid)
  t.equal(ref.pid, process.pid)
  t.ok(ref.isAlive())
  t.ok(ref.verify())
  ref.kill(0)
  const fd = pidfdOpen(process.pid)
  using same = PidRef.fromPidfd(fd)
  closeFd(fd)
  t.equal(same.pid, process.pid)
  t.equal(same.pidfdId, ref.pidfdId)
  t.ok(same.verify(), 'does not depend on the descriptor it was made from')
  t.ok(ref.equals(same))
  using one = PidRef.pin(1)
  t.notOk(ref.equals(one))
  t.ok(one.isAlive())
  t.end()
})

const SIGNALS = `
import os, signal, sys
print('begin', flush=True)
for _ in range(20000): os.kill(int(sys.argv[1]), signal.SIGUSR2)`

t.test('signals in between do not make a living process a failure', async (t) => {
  using ref = PidRef.pin(1)
  process.on('SIGUSR2', () => undefined)
  const sender = spawn('python3', ['-c', SIGNALS, String(process.pid)], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    await once(sender.stdout, 'data')
    for (let count = 0; count < 50_000; count++) if (!ref.isAlive()) t.fail('it lives')
  } finally {
    sender.kill()
    await once(sender, 'exit')
    process.removeAllListeners('SIGUSR2')
  }
})

t.test('a process that ends', async (t) => {
  const child = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'] })
  using ref = PidRef.pin(child.pid ?? 0)
  t.equal(parentPid(ref.pid), process.pid)
  ref.kill(9)
  const [, signal] = (await once(child, 'exit')) as [number | null, string]
  t.equal(signal, 'SIGKILL')
  t.notOk(ref.isAlive())
  t.notOk(ref.verify())
  t.throws(
    () => {
      ref.kill(0)
    },
    { code: 'ESRCH' }
  )
  t.throws(() => PidRef.pin(ref.pid), { code: 'ESRCH' })
  t.throws(() => PidRef.fromPidfd(ref.pidfd ?? -1), { code: 'ESRCH' })
  t.throws(() => realUid(ref), { code: 'ESRCH' })
  t.throws(() => ownsProcess(ref, 0), { code: 'ESRCH' })
  t.throws(() => cgroupPath(ref.pid), { code: 'ESRCH' })
  t.equal(parentPid(ref.pid), undefined)
})

t.test('a zombie is not alive', async (t) => {
  // sh starts a child and turns into cat, which never waits for it. The child ends only when cat has shown to be there.
  const child = spawn('sh', ['-c', 'head -c1 <&3 >&2 & echo $!; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const [stdin, stdout, , gate] = child.stdio as unknown as [Writable, Readable, null, Writable]
  const [line] = (await once(stdout, 'data')) as [Buffer]
  const pid = Number(String(line))
  stdin.write('echo')
  await once(stdout, 'data')
  gate.end('x')
  while (!/\) Z /.test(readFileSync(`/proc/${String(pid)}/stat`, 'utf8')))
    await new Promise((resolve) => setImmediate(resolve))
  using ref = PidRef.pin(pid)
  t.notOk(ref.isAlive())
  t.ok(ref.verify(), 'its PID is still taken')
  stdin.end()
  await once(child, 'exit')
})

t.test('no process', (t) => {
  for (const pid of [0, -1, 1.5, 2 ** 31, NaN]) t.throws(() => PidRef.pin(pid), { code: 'ESRCH' })
  t.throws(() => PidRef.fromPidfd(0), { code: 'EBADF' })
  t.throws(() => PidRef.fromPidfd(99999), { code: 'EBADF' })
  const ref = PidRef.pin(process.pid)
  ref.close()
  ref.close()
  t.equal(ref.pidfd, undefined)
  t.end()
})

t.test('ownership', (t) => {
  using ref = PidRef.pin(process.pid)
  const uid = process.getuid?.() ?? 0
  t.equal(realUid(ref), uid)
  t.ok(ownsProcess(ref, uid))
  t.notOk(ownsProcess(ref, uid + 12345), 'in our own namespace only the UID counts')
  t.end()
})

t.test('ownership through a user namespace', async (t) => {
  if (process.getuid?.() !== 0) {
    t.comment('needs root')
    return
  }
  // The user 4242 makes the namespace; the process in it keeps that UID outside, so the check must see the owner for a third one.
  const child = spawn('unshare', ['--user', 'sh', '-c', 'echo ready; exec cat'], {
    uid: 4242,
    gid: 4242,
    stdio: ['pipe', 'pipe', 'ignore']
  })
  const [line] = (await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])) as [unknown]
  if (!Buffer.isBuffer(line)) {
    t.comment('no user namespaces here')
    return
  }
  using ref = PidRef.pin(child.pid ?? 0)
  t.ok(ownsProcess(ref, 4242))
  t.notOk(ownsProcess(ref, 4243))
  child.stdin.end()
  await once(child, 'exit')
})
