import t from 'tap'
import {
  cgroupPath,
  escapeUnitName,
  isEmptyCgroup,
  isValidUnitName,
  scopeNameForMachine,
  unitOfCgroup,
  userUnitOfCgroup,
  watchCgroupEvents
} from '../../daemon/linux/cgroup.ts'

t.test('unit of a cgroup', (t) => {
  t.same(unitOfCgroup('/system.slice/ssh.service'), { unit: 'ssh.service', subgroup: '' })
  t.same(unitOfCgroup('/machine.slice/systemd-nspawn@x.service/payload'), {
    unit: 'systemd-nspawn@x.service',
    subgroup: 'payload'
  })
  t.same(unitOfCgroup('/machine.slice/machine-foo\\x2dbar.scope'), { unit: 'machine-foo\\x2dbar.scope', subgroup: '' })
  t.same(unitOfCgroup('/user.slice/user-1000.slice/user@1000.service/app.slice/a.service'), {
    unit: 'user@1000.service',
    subgroup: 'app.slice/a.service'
  })
  t.same(unitOfCgroup('/system.slice/_cpu.service/a//b/'), { unit: 'cpu.service', subgroup: 'a/b' })
  t.same(unitOfCgroup('/init.scope'), { unit: 'init.scope', subgroup: '' })
  for (const path of [
    '',
    '/',
    '/system.slice',
    '/a.slice/b.slice',
    '/foo',
    '/system.slice/foo@.service',
    '/.service',
    '/.slice/a.service'
  ]) {
    t.equal(unitOfCgroup(path), undefined, path)
  }
  t.end()
})

t.test("unit of a user's own manager", (t) => {
  const manager = '/user.slice/user-1000.slice/user@1000.service'
  t.same(userUnitOfCgroup(`${manager}/app.slice/a.service/b`), { unit: 'a.service', subgroup: 'b' })
  t.same(userUnitOfCgroup(`${manager}/init.scope`), { unit: 'init.scope', subgroup: '' })
  t.same(userUnitOfCgroup('/capsule.slice/capsule@x.service/app.slice/a.scope'), { unit: 'a.scope', subgroup: '' })
  t.same(userUnitOfCgroup('/user.slice/user-1000.slice/session-c2.scope/b.slice/a.service'), {
    unit: 'a.service',
    subgroup: ''
  })
  for (const path of [
    '/',
    manager,
    `${manager}/app.slice`,
    '/user.slice/user-1000.slice/session-c2.scope',
    '/system.slice/a.service/b.service',
    '/system.slice/user@x.service/b.service',
    '/a.slice/session-.scope/b.service'
  ]) {
    t.equal(userUnitOfCgroup(path), undefined, path)
  }
  t.end()
})

t.test('unit names', (t) => {
  for (const name of ['a.service', 'a@b.service', 'a@b@c.service', '-.slice', 'a\\x2d.scope', 'a.b.mount'])
    t.ok(isValidUnitName(name), name)
  for (const name of [
    '',
    'a',
    'a.',
    '.service',
    '@.service',
    '@a.service',
    'a@.service',
    'a b.service',
    'a/b.service',
    'ä.service',
    'a.service\n',
    'a.exe',
    `${'a'.repeat(250)}.service`
  ]) {
    t.notOk(isValidUnitName(name), name)
  }
  t.end()
})

t.test('escaping', (t) => {
  t.equal(scopeNameForMachine('foo-bar'), 'machine-foo\\x2dbar.scope')
  t.equal(scopeNameForMachine('plain.1'), 'machine-plain.1.scope')
  t.equal(escapeUnitName('.a/b\\ä'), '\\x2ea-b\\x5c\\xc3\\xa4')
  t.end()
})

t.test('this host', (t) => {
  t.match(cgroupPath(process.pid), /^\//)
  t.throws(() => cgroupPath(2 ** 30), { code: 'ESRCH' })
  t.equal(isEmptyCgroup('/'), false)
  t.equal(isEmptyCgroup('/no-such-group'), true, 'gone is empty')
  t.throws(() => watchCgroupEvents('/no-such-group', () => undefined), { code: 'ENOENT' })
  t.end()
})
