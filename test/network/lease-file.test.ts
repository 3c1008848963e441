import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parseIp, parsePrefix } from '../../daemon/base/prefix.ts'
import { FileLock } from '../../daemon/linux/file-lock.ts'
import { LeaseFile } from '../../daemon/network/lease-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'machined-leases-'))
t.teardown(() => {
  rmSync(directory, { recursive: true })
})
const path = join(directory, 'network', 'machines0.json')
const file = new LeaseFile(path)
const record = {
  subnet4: parsePrefix('10.200.7.0/24'),
  subnet6: undefined,
  leases: [
    {
      name: 'c1',
      ip4: parseIp('10.200.7.9'),
      ip6: undefined,
      mac: '02:00:00:00:00:01',
      firstSeen: 1,
      lastSeen: 2,
      fixed: true
    }
  ]
}

t.test('what was saved is read back, and there need be nothing', async (t) => {
  t.equal(file.load(), undefined)
  await file.save(record)
  t.strictSame(file.load(), record)
  t.strictSame(readdirSync(join(directory, 'network')), ['.#machines0.json.lck', 'machines0.json'])
})

t.test('only one writes a file', async (t) => {
  await t.rejects(new LeaseFile(path).save({ ...record, leases: [] }), { code: 'EBUSY' })
  t.strictSame(new LeaseFile(path).load(), record, 'which others may read')
  const other = new LeaseFile(join(directory, 'other.json'))
  const lock = FileLock.take(join(directory, '.#other.json.lck'), 'exclusive')
  await t.rejects(other.save(record), { code: 'EBUSY' })
  lock.release()
  await other.save(record)
  t.strictSame(other.load(), record, 'once the one before has ended')
})

t.test('a file that makes no sense is moved aside', (t) => {
  for (const text of ['', '{', '[]', '{"version":2,"leases":[]}', '{"version":1}', 'null']) {
    writeFileSync(path, text)
    t.equal(file.load(), undefined, text)
    t.equal(readFileSync(`${path}.bad`, 'utf8'), text)
    t.notOk(existsSync(path))
  }
  t.end()
})

t.test('of a file with nonsense in it the rest counts', (t) => {
  const [lease] = record.leases
  writeFileSync(
    path,
    JSON.stringify({ version: 1, subnet4: 7, leases: [1, { name: 2 }, { ...lease, ip4: '10.200.7.300' }] })
  )
  t.match(file.load(), { subnet4: undefined, leases: [{ name: 'c1', ip4: undefined, fixed: true }] })
  t.equal(file.load()?.leases.length, 1)
  t.end()
})
