import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parseIp, parsePrefix } from '../../daemon/base/prefix.ts'
import { loadRecord, saveRecord } from '../../daemon/network/lease-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'machined-leases-'))
t.teardown(() => {
  rmSync(directory, { recursive: true })
})
const path = join(directory, 'network', 'machines0.json')
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

t.test('what was saved is read back, and there need be nothing', (t) => {
  t.equal(loadRecord(path), undefined)
  saveRecord(path, record)
  t.strictSame(loadRecord(path), record)
  t.strictSame(readdirSync(join(directory, 'network')), ['machines0.json'])
  t.end()
})

t.test('a file that makes no sense is moved aside', (t) => {
  for (const text of ['', '{', '[]', '{"version":2,"leases":[]}', '{"version":1}', 'null']) {
    writeFileSync(path, text)
    t.equal(loadRecord(path), undefined, text)
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
  t.match(loadRecord(path), { subnet4: undefined, leases: [{ name: 'c1', ip4: undefined, fixed: true }] })
  t.equal(loadRecord(path)?.leases.length, 1)
  t.end()
})
