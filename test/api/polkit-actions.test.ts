import t from 'tap'
import { polkitActions } from '../../daemon/api/polkit-actions.ts'
import { busPolicy, polkitPolicy, usedActions } from '../../scripts/policy-files.ts'

t.test('every action that a row names exists, and every other one would be of no use', (t) => {
  t.strictSame([...usedActions()].sort(), Object.keys(polkitActions).sort())
  t.end()
})

t.test('polkit is told of the used actions only, also where one implies another', (t) => {
  const named = [...polkitPolicy().matchAll(/org\.freedesktop\.machine1\.([\w-]+)/g)].map(([, name]) => name)
  t.strictSame([...new Set(named)].sort(), [...usedActions()].sort())
  t.match(polkitPolicy(), /imply">[^<]*org\.freedesktop\.machine1\.register-machine</)
  t.end()
})

t.test('an action implies only actions that there are', (t) => {
  for (const [name, { implies }] of Object.entries(polkitActions)) {
    for (const other of implies) t.ok(Object.hasOwn(polkitActions, other), `${name} implies ${other}`)
  }
  t.end()
})

t.test('the bus opens the methods of the tables to everybody, after a blanket denial', (t) => {
  const everybody = busPolicy().split('<policy context="default">')[1] ?? ''
  t.ok(everybody.trimStart().startsWith('<deny send_destination="org.freedesktop.machine1"/>'))
  t.match(everybody, 'send_interface="org.freedesktop.machine1.Manager" send_member="RegisterMachineEx"')
  t.match(everybody, 'send_interface="org.freedesktop.machine1.Machine" send_member="Kill"')
  t.match(everybody, 'send_interface="org.freedesktop.machine1.Image" send_member="GetOSRelease"')
  t.notMatch(everybody, 'LogControl1')
  t.notMatch(everybody, 'send_member="Set"')
  t.end()
})
