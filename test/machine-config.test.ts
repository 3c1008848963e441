import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { useSink } from '../daemon/base/log.ts'
import { readMachineConfig } from '../daemon/machine-config.ts'
import { listenText } from '../daemon/network/forward-text.ts'

t.test('network and forwards of a machine are those of its file and its drop-ins', (t) => {
  const top = mkdtempSync(join(tmpdir(), 'machined-config-'))
  t.teardown(() => {
    rmSync(top, { recursive: true })
  })
  const said: string[] = []
  useSink(({ message }) => {
    said.push(message.replace(`${top}/`, ''))
  })
  const files = {
    'usr/c1.conf': '[Forward]\nListen=1\n',
    'etc/c1.conf': `[Forward]
Listen=8080
Target=80
[Forward]
Listen=udp:[fd00::1]:53
Comment=none
[Forward]
Target=80
[Forward]
Listen=90
Target=http

[Network]
Bridge=br0
Network=red
Network=no/name
[Other]
Key=1
[Forward]
Listen=5
Listen=6-7
`,
    'run/c1.conf.d/more.conf': '[Network]\nNetwork=blue\n[Forward]\nListen=192.0.2.1:443\n',
    'etc/c2.conf': '[Forward]\nListen=2\n'
  }
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(top, path)), { recursive: true })
    writeFileSync(join(top, path), text)
  }
  const found = readMachineConfig(
    'c1',
    ['etc', 'run', 'usr'].map((name) => join(top, name))
  )
  t.strictSame(
    found.forwards.map((forward) => [listenText(forward), forward.target, forward.file?.replace(`${top}/`, '')]),
    [
      ['tcp:8080', 80, 'etc/c1.conf'],
      ['udp:[fd00::1]:53', 53, 'etc/c1.conf'],
      ['tcp:6-7', 6, 'etc/c1.conf'],
      ['tcp:192.0.2.1:443', 443, 'run/c1.conf.d/more.conf']
    ]
  )
  t.strictSame(said, [
    "etc/c1.conf:6: Unknown key 'Comment' in section [Forward], ignoring",
    "etc/c1.conf:14: Unknown key 'Bridge' in section [Network], ignoring",
    'etc/c1.conf:18: Unknown section [Other], ignoring',
    "etc/c1.conf:16: Invalid network name 'no/name', ignoring",
    "etc/c1.conf:7: Invalid port to listen on '', ignoring the section",
    "etc/c1.conf:9: Invalid target port 'http', ignoring the section"
  ])
  t.equal(found.network, 'blue')
  t.strictSame(readMachineConfig('c3', [top]), { network: undefined, forwards: [] })
  t.end()
})
