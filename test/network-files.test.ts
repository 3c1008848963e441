import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { useSink } from '../daemon/base/log.ts'
import { formatPrefix, parseIp, parsePrefix } from '../daemon/base/prefix.ts'
import { listNetworkFiles, readNetworkFile } from '../daemon/network-files.ts'
import { baseForOthers, networkDefaults } from '../daemon/network/network-config.ts'

const top = mkdtempSync(join(tmpdir(), 'machined-networks-'))
t.teardown(() => {
  rmSync(top, { recursive: true })
})
const directories = ['etc', 'run', 'usr'].map((name) => join(top, name))
const files = {
  'etc/blue.conf': '[Network]\nSubnet4=10.9.0.0/24\nMTU=1400\nBridge=br0\nIsolation=none\n[Firewall]\nIntegration=no\n',
  'usr/blue.conf': '[Network]\nHostAccess=no\n',
  'run/blue.conf.d/mtu.conf': '[Network]\nMTU=\nMasquerade=ipv4\n',
  'usr/red.conf': '[Network]\n',
  'usr/hidden.conf': '[Network]\n',
  'usr/default.conf': '[Network]\n',
  'usr/no name.conf': '[Network]\n',
  'usr/text': '[Network]\n'
}
for (const [path, text] of Object.entries(files)) {
  mkdirSync(dirname(join(top, path)), { recursive: true })
  writeFileSync(join(top, path), text)
}
symlinkSync('/dev/null', join(top, 'etc/hidden.conf'))

t.test('the networks are those with a file that has a name for one and is not switched off', (t) => {
  t.strictSame(listNetworkFiles(directories), ['blue', 'red'])
  t.strictSame(listNetworkFiles([join(top, 'nowhere')]), [])
  t.end()
})

t.test('a network is what its file and its drop-ins say, and else what machined.conf does', (t) => {
  const said: string[] = []
  useSink(({ message }) => {
    said.push(message.replace(`${top}/`, ''))
  })
  const base = { ...networkDefaults, mtu: 1300, hostAccess: 'services' as const }
  const { config, files: read } = readNetworkFile('blue', base, directories)
  t.equal(typeof config.subnet4 === 'object' && formatPrefix(config.subnet4), '10.9.0.0/24')
  t.match(config, { mtu: 1300, masquerade: 'ipv4', isolation: 'none', hostAccess: 'services', bridge: 'machines0' })
  t.strictSame(read, [join(top, 'etc/blue.conf'), join(top, 'run/blue.conf.d/mtu.conf')])
  t.strictSame(said, [
    "etc/blue.conf:4: Unknown key 'Bridge' in section [Network], ignoring",
    'etc/blue.conf:7: Unknown section [Firewall], ignoring'
  ])
  t.strictSame(readNetworkFile('green', base, directories), { config: base, files: [] })
  t.end()
})

t.test('subnets and the address of the host in them are not handed on to other networks', (t) => {
  const own = { subnet4: parsePrefix('10.9.0.0/24'), subnet6: parsePrefix('fd09::/64'), gateway: parseIp('10.9.0.7') }
  const config = { ...networkDefaults, ...own, mtu: 1300 } as typeof networkDefaults
  const others = { bridge: 'mn-x', subnet4: 'auto', subnet6: 'ula', gateway: 'first', mtu: 1300 }
  t.match(baseForOthers(config, 'mn-x'), others)
  t.match(baseForOthers({ ...config, subnet4: 'off', subnet6: 'off', gateway: 'last' }, 'mn-x'), {
    subnet4: 'off',
    subnet6: 'off',
    gateway: 'last'
  })
  t.end()
})
