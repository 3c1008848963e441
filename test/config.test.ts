import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { formatPrefix } from '../daemon/base/prefix.ts'
import { useSink } from '../daemon/base/log.ts'
import { readConfig, type Config } from '../daemon/config.ts'
import { networkDefaults } from '../daemon/network/network-config.ts'

/** Reads a configuration of these files, and what was said about it. */
function read(t: Test, files: Readonly<Record<string, string>>): { config: Config; said: string[]; top: string } {
  const top = mkdtempSync(join(tmpdir(), 'machined-config-'))
  t.teardown(() => {
    rmSync(top, { recursive: true })
  })
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(top, path)), { recursive: true })
    if (text === '/dev/null') symlinkSync(text, join(top, path))
    else writeFileSync(join(top, path), text)
  }
  const said: string[] = []
  useSink(({ message }) => {
    said.push(message.replace(`${top}/`, ''))
  })
  const config = readConfig(['etc', 'run', 'usr-local', 'usr'].map((name) => join(top, name)))
  return { config, said, top }
}

t.test('without files the defaults hold', (t) => {
  const { config, said } = read(t, {})
  t.strictSame(config.network, networkDefaults)
  t.strictSame(networkDefaults.pool4.map(formatPrefix), ['10.192.0.0/11', '172.30.0.0/15', '192.168.128.0/17'])
  t.strictSame(said, [])
  t.end()
})

t.test('all settings are read', (t) => {
  const { config, said } = read(t, {
    'etc/machined.conf': `
# comment
; comment
[Network]
Manage=yes
Backend=networkd
Bridge = br.7   # why
Subnet4=10.200.7.0/24
Pool4=10.0.0.0/8 172.30.0.0/15
Prefix4=26
Subnet6=off
Gateway=last
DynamicRange=100-110
MTU=9000
Masquerade=ipv4
Isolation=ports
AntiSpoof=false
HostAccess=services
Inject=0
DropIn=n
RequireNetwork=on
[Firewall]
Integration=no
LocalhostForward=no
`
  })
  t.strictSame(said, [])
  const { subnet4, pool4, ...rest } = config.network
  t.equal(typeof subnet4 === 'string' ? subnet4 : formatPrefix(subnet4), '10.200.7.0/24')
  t.equal(pool4.length, 2)
  t.strictSame(rest, {
    manage: 'yes',
    backend: 'networkd',
    bridge: 'br.7',
    prefix4: 26,
    subnet6: 'off',
    gateway: 'last',
    dynamicRange: [100, 110],
    mtu: 9000,
    masquerade: 'ipv4',
    isolation: 'ports',
    antiSpoof: false,
    hostAccess: 'services',
    inject: false,
    dropIn: false,
    requireNetwork: true,
    integration: 'no',
    localhostForward: false
  })
  t.end()
})

t.test('files count in the order of systemd', (t) => {
  const bridge = (name: string): string => `[Network]\nBridge=${name}\n`
  const { config, said, top } = read(t, {
    'usr/machined.conf': bridge('unseen') + 'MTU=2000\n',
    'run/machined.conf': bridge('main') + 'Prefix4=25\n',
    'usr/machined.conf.d/10-a.conf': bridge('a'),
    'etc/machined.conf.d/20-b.conf': bridge('etc-b'),
    'usr/machined.conf.d/20-b.conf': bridge('usr-b') + 'MTU=3000\n',
    'usr-local/machined.conf.d/15-c.conf': bridge('c') + 'Isolation=ports\n',
    'usr/machined.conf.d/30-off.conf': bridge('off'),
    'etc/machined.conf.d/30-off.conf': '/dev/null',
    'usr/machined.conf.d/40-empty.conf': bridge('empty'),
    'run/machined.conf.d/40-empty.conf': '',
    'etc/machined.conf.d/readme.txt': 'no configuration'
  })
  t.match(config.network, { bridge: 'etc-b', mtu: 'auto', prefix4: 25, isolation: 'ports' })
  t.strictSame(
    config.files.map((path) => path.replace(`${top}/`, '')),
    ['run/machined.conf', 'usr/machined.conf.d/10-a.conf', 'usr-local/machined.conf.d/15-c.conf'].concat(
      'etc/machined.conf.d/20-b.conf'
    )
  )
  t.strictSame(said, [])
  t.end()
})

t.test('what makes no sense is named with file and line, and ignored', (t) => {
  const { config, said } = read(t, {
    'etc/machined.conf': `[Network]
Manage=perhaps
Nonsense=1
nothing
Subnet4=10.0.0.0/33
Subnet6=10.0.0.0/24
Pool4=10.0.0.0/8 x
MTU=70000
DynamicRange=5-1
Bridge=-x
__proto__=1
toString=1

[Strange.Section]
Key=value
[Network]
Isolation=ports
`
  })
  t.strictSame(
    said.map((line) => line.replace('etc/machined.conf:', '')),
    [
      "4: Missing '=', ignoring line",
      '2: Failed to parse Manage=perhaps, ignoring',
      "3: Unknown key 'Nonsense' in section [Network], ignoring",
      '5: Failed to parse Subnet4=10.0.0.0/33, ignoring',
      '6: Failed to parse Subnet6=10.0.0.0/24, ignoring',
      '7: Failed to parse Pool4=10.0.0.0/8 x, ignoring',
      '8: Failed to parse MTU=70000, ignoring',
      '9: Failed to parse DynamicRange=5-1, ignoring',
      '10: Failed to parse Bridge=-x, ignoring',
      "12: Unknown key 'toString' in section [Network], ignoring",
      '15: Unknown section [Strange.Section], ignoring'
    ]
  )
  t.strictSame(config.network, { ...networkDefaults, isolation: 'ports' })
  t.end()
})

t.test('an empty value takes back what was set before', (t) => {
  const { config } = read(t, {
    'usr/machined.conf': '[Network]\nBridge=other\n',
    'etc/machined.conf.d/x.conf': '[Network]\nBridge=\n'
  })
  t.equal(config.network.bridge, 'machines0')
  t.end()
})

t.test('with Backend=none nothing is to be managed', (t) => {
  const { config } = read(t, { 'etc/machined.conf': '[Network]\nManage=yes\nBackend=none\n' })
  t.match(config.network, { backend: 'none', manage: 'no' })
  t.end()
})
