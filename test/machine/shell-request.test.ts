import { execFileSync } from 'node:child_process'
import t from 'tap'
import { Machine, NO_VSOCK_CID } from '../../daemon/machine/machine.ts'
import { checkShell, type ShellRequest } from '../../daemon/machine/shell-request.ts'

const machine = new Machine({
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
})

const nothing: ShellRequest = { user: '', path: '', args: [], environment: [] }

t.test('what is not said is root, the login shell, and the program as its own first argument', (t) => {
  const { user, path, args } = checkShell(machine, { ...nothing, args: ['ignored'] })
  t.strictSame([user, path, args.length, args[0], args[1], args[4]], ['root', '/bin/sh', 5, 'sh', '-c', 'root'])
  t.strictSame(checkShell(machine, { ...nothing, path: '/bin/ls' }).args, ['/bin/ls'])
  t.strictSame(checkShell(machine, { ...nothing, path: '/bin/ls', args: ['ls', '-l'] }).args, ['ls', '-l'])
  t.end()
})

t.test('the script runs the shell of the user, whose name is never part of it', (t) => {
  const run = (user: string): string => {
    const [, , script = '', name = ''] = checkShell(machine, { ...nothing, user }).args
    t.notMatch(script, user.slice(0, 6))
    t.notMatch(script, '${', 'which the service manager would take for a variable of its own')
    // A getent of our own, and programs that say who they are instead of shells.
    const getent = `getent() { test "$2" = known && echo 'known:x:7:7:a b,,:/home/a b:/bin/echo'; }`
    const lines = `${getent}\n${script.replace('exec /bin/sh', 'exec /bin/echo fallback')}`
    return execFileSync('/bin/sh', ['-c', lines, name, user], { encoding: 'utf8' })
  }
  t.equal(run('known'), '-l\n')
  t.equal(run('nobody here'), 'fallback -l\n')
  t.equal(run('$(touch pwned); "`id`'), 'fallback -l\n')
  t.end()
})

t.test('text that cannot be told to a service manager is refused', (t) => {
  for (const text of ['a\0b', 'a\ud800']) {
    for (const request of [
      { user: text },
      { path: `/${text}` },
      { path: '/x', args: [text] },
      { environment: [`A=${text}`] }
    ]) {
      t.throws(() => checkShell(machine, { ...nothing, ...request }), { code: 'InvalidArgs' })
    }
  }
  t.end()
})
