import { fstatSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { getLevel, log, setLevel, useSink, type LogEntry } from '../../daemon/base/log.ts'
import { encodeEntry, JournalQueue, stderrIsJournal, writeJournal } from '../../daemon/linux/journal.ts'
import { systemError } from '../../daemon/base/errors.ts'

t.test('encoding', (t) => {
  t.equal(encodeEntry({ MESSAGE: 'hi ä', PRIORITY: '6' }).toString(), 'MESSAGE=hi ä\nPRIORITY=6\n')
  t.same(encodeEntry({ A: 'x\ny' }), Buffer.from('A\n\x03\0\0\0\0\0\0\0x\ny\n'))
  t.equal(encodeEntry({ _PID: '1', a: '1', '1A': '1', 'A=B': '1', ['A'.repeat(65)]: '1' }).length, 0)
  t.ok(
    encodeEntry({ A: 'x'.repeat(1e6), B: 'ok' })
      .toString()
      .endsWith('\nB=ok\n'),
    'a long value is cut'
  )
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`F${String(i)}`, 'x'.repeat(1e5)]))
  t.ok(encodeEntry(many).length <= 128 * 1024)
  t.end()
})

t.test('never throws', (t) => {
  t.doesNotThrow(() => {
    writeJournal({ priority: 7, message: 'test', fields: {} })
  })
  t.end()
})

t.test('entries are gathered, but before an error all that came before it is written', async (t) => {
  const written: string[] = []
  const queue = new JournalQueue(({ message }) => written.push(message))
  const write = (message: string, priority = 6): void => {
    queue.write({ priority, message, fields: {} })
  }
  const many = Array.from({ length: 20 }, (_, index) => `entry ${String(index)}`)
  write('first')
  t.same(written, [])
  write('error', 3)
  t.same(written.splice(0), ['first', 'error'])
  for (const message of many) write(message)
  t.same(written, [])
  while (written.length < many.length) await sleep(1)
  t.same(written, many)
})

t.test('where standard error goes', (t) => {
  const before = process.env['JOURNAL_STREAM']
  t.teardown(() => {
    if (before === undefined) delete process.env['JOURNAL_STREAM']
    else process.env['JOURNAL_STREAM'] = before
  })
  const stat = fstatSync(2, { bigint: true })
  process.env['JOURNAL_STREAM'] = `${String(stat.dev)}:${String(stat.ino)}`
  t.ok(stderrIsJournal())
  process.env['JOURNAL_STREAM'] = '1:1'
  t.notOk(stderrIsJournal())
  delete process.env['JOURNAL_STREAM']
  t.notOk(stderrIsJournal())
  t.end()
})

t.test('the logger', (t) => {
  const entries: LogEntry[] = []
  useSink(({ priority, message, fields }) => {
    entries.push({ priority, message, fields })
  })
  setLevel('info')
  log.info({ NAME: 'x', LEADER: 42, secret: 'no' }, 'New machine.')
  log.debug('unseen')
  log.warn({ err: systemError(2, 'open', '/x') }, 'Cannot read')
  log.error({ err: new Error('bug') }, 'Oops')
  log.notice('seen')
  t.same(entries[0], { priority: 6, message: 'New machine.', fields: { NAME: 'x', LEADER: '42' } })
  t.equal(entries[1]?.priority, 4)
  t.match(entries[1]?.message, /^Cannot read: ENOENT: .*'\/x'$/, 'no stack for an expected failure')
  t.equal(entries[1]?.fields['ERRNO'], '2')
  t.match(entries[2]?.message, /^Oops: bug\nError: bug\n +at /)
  t.equal(entries[3]?.priority, 5)
  t.equal(entries.length, 4)
  for (const level of ['emerg', 'alert', 'crit', 'err', 'warning', 'notice', 'info', 'debug']) {
    setLevel(level)
    t.equal(getLevel(), level)
  }
  log.debug('seen')
  t.equal(entries.at(-1)?.priority, 7)
  t.throws(
    () => {
      setLevel('loud')
    },
    { code: 'InvalidArgs' }
  )
  t.end()
})
