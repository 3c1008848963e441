import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { PidRef } from '../../daemon/linux/process.ts'
import { Machine, NO_VSOCK_CID, type Registration } from '../../daemon/machine/machine.ts'
import { StateDirectory, formatState, parseState } from '../../daemon/machine/state-file.ts'

const plain: Registration = {
  name: 'm',
  class: 'container',
  owner: 0,
  id: Buffer.alloc(0),
  service: '',
  rootDirectory: '',
  networkInterfaces: [],
  vsockCid: NO_VSOCK_CID,
  sshAddress: '',
  sshPrivateKeyPath: '',
  leader: undefined,
  supervisor: undefined
}

function machine(registration: Partial<Registration> = {}, state: Partial<Machine> = {}): Machine {
  return Object.assign(new Machine({ ...plain, ...registration }), state)
}

t.test('the text is the stock daemon’s', async (t) => {
  const full = machine(
    {
      owner: 1000,
      id: Buffer.from('00112233445566778899aabbccddeeff', 'hex'),
      service: 'systemd-nspawn',
      rootDirectory: '/srv/with space',
      networkInterfaces: [5, 7],
      sshAddress: 'vsock/3'
    },
    { unit: 'm.scope', scopeJob: '/org/freedesktop/systemd1/job/9', realtime: 12n, monotonic: 7n }
  )
  t.equal(
    formatState(full),
    `# This is private data. Do not parse.
NAME=m
UID=1000
SCOPE=m.scope
SCOPE_JOB=/org/freedesktop/systemd1/job/9
SERVICE=systemd-nspawn
ROOT="/srv/with space"
ID=00112233445566778899aabbccddeeff
CLASS=container
REALTIME=12
MONOTONIC=7
NETIF=" 5 7"
VSOCK_CID=4294967295
SSH_ADDRESS=vsock/3
`
  )
})

t.test('what is written is read back', async (t) => {
  using self = PidRef.pin(process.pid)
  const before = machine(
    { leader: self, service: 'a "b" $c `d` \\e', rootDirectory: '/x', vsockCid: 5, networkInterfaces: [1] },
    { unit: 'a.service', subgroup: 'payload/x', stopping: true, realtime: 1_700_000_000_000_001n }
  )
  const after = parseState('m', formatState(before))
  t.equal(formatState(after), formatState(before))
  t.ok(after.registration.leader?.equals(self))
  t.equal(after.state, 'closing')
  t.notOk(after.ownsUnit)
  after.registration.leader?.close()
})

t.test('files of older versions are read', async (t) => {
  const v252 = 'NAME=m\nSCOPE=machine-m.scope\nSERVICE=a\\x20b\nCLASS=vm\nNETIF=2 3\nREALTIME=5\n'
  const { registration, unit } = parseState('m', v252)
  t.match(registration, { owner: 0, service: 'a b', class: 'vm', networkInterfaces: [2, 3], leader: undefined })
  t.equal(unit, 'machine-m.scope')
})

t.test('a leader whose PID belongs to another process now counts as gone', async (t) => {
  const text = `NAME=m\nLEADER=${process.pid}\nLEADER_PIDFDID=1\n`
  t.equal(parseState('m', text).registration.leader, undefined)
})

t.test('garbage leaves fields unset, a wrong name is refused', async (t) => {
  const { registration } = parseState('m', 'NAME=m\nUID=-3\nLEADER=x\nID=zz\nNETIF=a -1 4\nREALTIME=1e9\n')
  t.match(registration, { owner: 0, leader: undefined, networkInterfaces: [4] })
  t.equal(registration.id.length, 0)
  t.throws(() => parseState('m', 'NAME=n\n'))
})

t.test('the directory', async (t) => {
  const path = join(t.testdir(), 'machines')
  const directory = new StateDirectory(path)
  const owner = machine({}, { unit: 'u.service' })

  await t.test('a unit of its own gets a link', async (t) => {
    directory.save(owner)
    t.equal(statSync(join(path, 'm')).mode & 0o777, 0o644)
    t.equal(readlinkSync(join(path, 'unit:u.service')), 'm')
  })

  await t.test('a machine in a subgroup has none', async (t) => {
    directory.save(machine({ name: 'sub' }, { unit: 'v.service', subgroup: 'payload' }))
    t.notOk(existsSync(join(path, 'unit:v.service')))
  })

  await t.test('only files of machines are listed', async (t) => {
    mkdirSync(join(path, 'folder'))
    writeFileSync(join(path, '.#m0123456789abcdef'), '')
    symlinkSync('m', join(path, 'link'))
    t.strictSame(directory.list().sort(), ['m', 'sub'])
  })

  await t.test('a failed save leaves file and link as they were', async (t) => {
    const before = readFileSync(join(path, 'm'), 'utf8')
    const unwritable = machine({ name: 'folder' }, { unit: 'w.service' })
    t.throws(() => {
      directory.save(unwritable)
    })
    t.equal(readFileSync(join(path, 'm'), 'utf8'), before)
    t.ok(lstatSync(join(path, 'unit:u.service')).isSymbolicLink())
  })

  await t.test('a link that a machine of before has left is replaced', async (t) => {
    const link = join(path, 'unit:left.service')
    symlinkSync('gone', link)
    const heir = machine({ name: 'heir' }, { unit: 'left.service' })
    directory.save(heir)
    t.equal(readlinkSync(link), 'heir')
    t.notOk(readdirSync(path).some((name) => name.startsWith('.#')))
    directory.save(heir)
    t.equal(readlinkSync(link), 'heir')
    directory.remove(heir)
    t.throws(() => readlinkSync(link), { code: 'ENOENT' })
  })

  await t.test('removal takes the link along, but not one that names another machine', async (t) => {
    directory.remove(machine({ name: 'other' }, { unit: 'u.service' }))
    t.equal(readlinkSync(join(path, 'unit:u.service')), 'm')
    directory.remove(owner)
    t.notOk(existsSync(join(path, 'm')))
    t.throws(() => readlinkSync(join(path, 'unit:u.service')))
  })
})
