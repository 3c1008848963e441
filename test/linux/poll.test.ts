import { readSync, writeSync } from 'node:fs'
import t from 'tap'
import { closeFd, pipe, socketPair } from '../../daemon/linux/libc.ts'
import { Poll, type PollEvents } from '../../daemon/linux/poll.ts'

/** The next events of a descriptor, watched once. */
function next(fd: number, events: { readable?: boolean; writable?: boolean }): Promise<PollEvents> {
  return new Promise((resolve) => {
    const poll = new Poll(fd, (found) => {
      poll.close()
      resolve(found)
    })
    poll.start(events)
  })
}

t.test('tells when a descriptor becomes readable', async (t) => {
  const [read, write] = pipe()
  const found = next(read, { readable: true })
  writeSync(write, 'x')
  t.match(await found, { readable: true, error: 0 })
  t.equal(readSync(read, Buffer.alloc(4)), 1)
  closeFd(read)
  closeFd(write)
})

t.test('tells when a descriptor is writable', async (t) => {
  const [one, other] = socketPair()
  t.match(await next(one, { writable: true }), { writable: true, readable: false })
  closeFd(one)
  closeFd(other)
})

t.test('promises and ticks run between two callbacks', async (t) => {
  const [read, write] = pipe()
  const order: string[] = []
  await new Promise<void>((resolve) => {
    let calls = 0
    const poll = new Poll(read, () => {
      order.push('callback')
      process.nextTick(() => order.push('tick'))
      void Promise.resolve().then(() => order.push('promise'))
      if (++calls < 2) return
      poll.close()
      setImmediate(resolve)
    })
    poll.start({ readable: true }) // never read, so it comes again
    writeSync(write, 'x')
  })
  t.same(order, ['callback', 'tick', 'promise', 'callback', 'tick', 'promise'])
  closeFd(read)
  closeFd(write)
})

t.test('an exception in a callback becomes an uncaught one and the loop goes on', async (t) => {
  const [read, write] = pipe()
  writeSync(write, 'x')
  const uncaught = new Promise((resolve) => {
    process.setUncaughtExceptionCaptureCallback((error) => {
      process.setUncaughtExceptionCaptureCallback(null)
      resolve(error)
    })
  })
  const poll = new Poll(read, () => {
    poll.close()
    throw new Error('a bug')
  })
  poll.start({ readable: true })
  t.match(await uncaught, { message: 'a bug' })
  closeFd(read)
  closeFd(write)
})

t.test('close ends the callbacks and closes an owned descriptor', async (t) => {
  const [read, write] = pipe()
  const poll = new Poll(read, () => t.fail('called after close'), { ownsFd: true })
  poll.start({ readable: true })
  writeSync(write, 'x')
  poll.close()
  poll.close()
  poll.start({ readable: true })
  await new Promise((resolve) => setTimeout(resolve, 1))
  await new Promise(setImmediate)
  t.throws(
    () => {
      closeFd(read)
    },
    { code: 'EBADF' }
  )
  closeFd(write)
})

t.test('refuses a regular file', async (t) => {
  const { openSync, closeSync } = await import('node:fs')
  const fd = openSync(process.execPath, 'r')
  t.throws(() => new Poll(fd, () => undefined), { code: 'EPERM', syscall: 'uv_poll_init' })
  closeSync(fd)
})
