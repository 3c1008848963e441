import { closeSync, fstatSync, mkdtempSync, readSync, rmSync, writeSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { closeFd, pipe, socketPair } from '../../daemon/linux/libc.ts'
import {
  connectUnix,
  peerCredentials,
  receiveMessage,
  sendDatagram,
  sendMessage
} from '../../daemon/linux/unix-socket.ts'

t.test('carries bytes of several buffers in one send', async (t) => {
  const [one, other] = socketPair()
  t.equal(sendMessage(one, Buffer.from('hello')), 5)
  const buffer = Buffer.alloc(16)
  t.same(receiveMessage(other, buffer), { bytes: 5, fds: [] })
  t.equal(buffer.toString('utf8', 0, 5), 'hello')
  t.equal(receiveMessage(other, buffer), undefined, 'nothing more now')
  closeFd(one)
  t.same(receiveMessage(other, buffer), { bytes: 0, fds: [] }, 'the end')
  closeFd(other)
})

t.test('carries descriptors', async (t) => {
  const [one, other] = socketPair()
  const [read, write] = pipe()
  t.equal(sendMessage(one, Buffer.from('x'), [read, write]), 1)
  const received = receiveMessage(other, Buffer.alloc(16))
  const [readCopy = -1, writeCopy = -1] = received?.fds ?? []
  t.equal(received?.fds.length, 2)
  t.equal(fstatSync(readCopy).ino, fstatSync(read).ino)
  writeSync(writeCopy, 'through')
  const text = Buffer.alloc(16)
  t.equal(text.toString('utf8', 0, readSync(read, text)), 'through')
  for (const fd of [one, other, read, write, readCopy, writeCopy]) closeSync(fd)
})

t.test('a full socket gives undefined, a closed one EPIPE', async (t) => {
  const [one, other] = socketPair()
  const big = Buffer.alloc(1 << 20)
  let taken = 0
  for (let sent; (sent = sendMessage(one, big)) !== undefined;) taken += sent
  t.ok(taken > 0)
  closeFd(other)
  t.throws(() => sendMessage(one, big), { code: 'EPIPE' })
  closeFd(one)
})

t.test('connects to a path and tells who the peer is', async (t) => {
  const folder = mkdtempSync('/tmp/machined-test-') // t.testdir() is too deep for a socket's path
  t.teardown(() => {
    rmSync(folder, { recursive: true })
  })
  const server = createServer().unref()
  await new Promise<void>((resolve) => server.listen(join(folder, 'socket'), resolve))
  const fd = connectUnix(join(folder, 'socket'))
  t.same(peerCredentials(fd), { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() })
  closeFd(fd)
  server.close()
})

t.test('errors name the call and the path', async (t) => {
  t.throws(() => connectUnix('/nowhere/at/all'), { code: 'ENOENT', syscall: 'connect', path: '/nowhere/at/all' })
  t.throws(() => connectUnix('x'.repeat(200)), { code: 'ENAMETOOLONG' })
  t.throws(
    () => {
      sendDatagram('@machined-nobody-listens', Buffer.from('x'))
    },
    { code: 'ECONNREFUSED' }
  )
})
