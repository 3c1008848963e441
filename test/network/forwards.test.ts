import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { useSink } from '../../daemon/base/log.ts'
import { listenText, readForward } from '../../daemon/network/forward-text.ts'
import { Forwards } from '../../daemon/network/forwards.ts'

const directory = mkdtempSync(join(tmpdir(), 'machined-forwards-'))
t.teardown(() => {
  rmSync(directory, { recursive: true })
})

t.test('a port leads to one machine, and its holder is named', (t) => {
  const forwards = new Forwards(join(directory, 'conflicts'))
  forwards.add(readForward('c1', '80-89', ''))
  forwards.add(readForward('c2', 'udp:80', ''))
  forwards.add(readForward('c2', '192.0.2.1:80', ''))
  for (const listen of ['80', '70-80', '89-99', '82-83', 'udp:80', '192.0.2.1:1-80']) {
    t.throws(
      () => {
        forwards.add(readForward('c3', listen, ''))
      },
      { code: 'FileExists', message: /machine 'c[12]' already/ },
      listen
    )
  }
  forwards.add(readForward('c3', '90', ''))
  t.end()
})

t.test('what is configured for a machine counts while it runs, and where nobody else has the port', (t) => {
  const said: string[] = []
  useSink(({ message }) => {
    said.push(message)
  })
  const path = join(directory, 'configured')
  const forwards = new Forwards(path)
  const listens = (): string[] => forwards.all().map((forward) => `${forward.machine} ${listenText(forward)}`)
  forwards.add(readForward('c1', '80', ''))
  forwards.configure('c2', [
    readForward('c2', '443', '', '/etc/c2.conf'),
    readForward('c2', '80-81', '', '/etc/c2.conf')
  ])
  t.strictSame(said, ["/etc/c2.conf: Port tcp:80 is forwarded to machine 'c1' already, ignoring"])
  forwards.configure('c3', [readForward('c3', '443', '', '/etc/c3.conf')])
  t.strictSame(listens(), ['c1 tcp:80', 'c2 tcp:443'])
  t.throws(
    () => {
      forwards.add(readForward('c1', '400-500', ''))
    },
    { code: 'FileExists', message: /tcp:443 is forwarded to machine 'c2'/ }
  )
  t.throws(
    () => {
      forwards.remove('c2', '443')
    },
    { code: 'NotSupported', message: /by \/etc\/c2.conf/ }
  )
  forwards.remove('c1', '80')
  t.strictSame(listens(), ['c2 tcp:443', 'c2 tcp:80-81'], 'what the other gave up')
  t.strictSame(new Forwards(path).all(), [], 'files have them, not the state')
  forwards.release('c2')
  t.strictSame(listens(), ['c3 tcp:443'])
  t.end()
})

t.test('forwards outlive the daemon, and lead where their machine is', (t) => {
  const path = join(directory, 'kept')
  const first = new Forwards(path)
  first.add(readForward('c1', '192.0.2.1:80-89', '8000'))
  first.add(readForward('c2', '443', ''))
  first.remove('c2', 'tcp:443')
  t.throws(
    () => {
      first.remove('c2', '443')
    },
    { code: 'FileNotFound' }
  )
  const second = new Forwards(path)
  t.strictSame(second.all(), first.all())
  t.equal(second.of('c1').length, 1)
  t.strictSame(second.active(new Map()), [])
  const ip4 = Buffer.from([10, 0, 0, 2])
  t.match(second.active(new Map([['c1', { ip4, ip6: undefined }]])), [
    { machine: 'c1', first: 80, last: 89, target: 8000, ip4 }
  ])
  t.end()
})
