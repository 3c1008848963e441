import fc from 'fast-check'
import t from 'tap'
import { listenText, readForward } from '../../daemon/network/forward-text.ts'

t.test('forwards are read as they are written', (t) => {
  for (const [listen, target, text, port] of [
    ['8080', '80', 'tcp:8080', 80],
    ['udp:53', '', 'udp:53', 53],
    ['tcp:192.0.2.1:80-89', '8000', 'tcp:192.0.2.1:80-89', 8000],
    ['[::1]:80', '', 'tcp:[::1]:80', 80]
  ] as const) {
    const forward = readForward('c1', listen, target)
    t.strictSame([listenText(forward), forward.target], [text, port])
  }
  const ports = fc.integer({ min: 1, max: 65_535 })
  fc.assert(
    fc.property(fc.constantFrom('tcp', 'udp'), ports, (protocol, port) => {
      const text = `${protocol}:${port}`
      return listenText(readForward('c1', text, '')) === text
    })
  )
  t.end()
})

t.test('what is no forward is refused', (t) => {
  for (const listen of ['', '0', '65536', '9-8', 'sctp:80', '1.2.3:80', 'tcp:[::1:80', '80-', 'tcp:', '::1:80']) {
    t.throws(() => readForward('c1', listen, ''), { code: 'InvalidArgs' }, listen)
  }
  for (const target of ['0', 'x', '65536']) t.throws(() => readForward('c1', '80', target), { code: 'InvalidArgs' })
  t.throws(() => readForward('c1', '80-89', '65530'), { code: 'InvalidArgs' })
  t.end()
})
