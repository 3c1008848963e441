import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import { parseIp, parsePrefix } from '../../daemon/base/prefix.ts'
import { noRules, rulesFor } from '../../daemon/network/firewall-document.ts'
import type { ActiveForward, FirewallNetwork, FirewallState } from '../../daemon/network/firewall-state.ts'
import { networkDefaults } from '../../daemon/network/network-config.ts'
import { changeDocument, wholeDocument, type Ruleset } from '../../daemon/network/ruleset.ts'
import { readForward } from '../../daemon/network/forward-text.ts'
import { hostRoot } from '../host/root.ts'
import { ROOTS } from '../daemon/client.ts'

const directory = mkdtempSync(join(tmpdir(), 'machined-rules-'))
t.teardown(() => {
  rmSync(directory, { recursive: true })
})

/** Runs commands of a root in a network of their own, with the directory of the documents at /mnt. */
const INSIDE = 'mount --bind "$1" "$0/mnt" && exec chroot "$0" /bin/sh -ec "$2"'

async function inside(root: string, script: string): Promise<string> {
  const argv = ['--net', '--mount', '--', 'sh', '-ec', INSIDE, root, directory, script]
  return (await execa('unshare', argv, { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }, extendEnv: false })).stdout
}

const ip4 = parseIp('10.200.0.5')
const ip6 = parseIp('fd00::5')
const network: FirewallNetwork = {
  bridge: 'machines0',
  subnet4: parsePrefix('10.200.0.0/24'),
  subnet6: parsePrefix('fd00::/64'),
  config: networkDefaults,
  ports: [
    { interfaceName: 've-c1', mac: '02:00:00:00:00:05', ip4, ip6 },
    { interfaceName: 've-c2', mac: '02:00:00:00:00:06', ip4: parseIp('10.200.0.6'), ip6: undefined }
  ]
}
/** A second one, of which nothing is hidden, that reaches others, and that the host is closed to. */
const other: FirewallNetwork = {
  bridge: 'mn-a-network-bl',
  subnet4: parsePrefix('10.201.0.0/28'),
  subnet6: undefined,
  config: { ...networkDefaults, masquerade: 'no', isolation: 'none', hostAccess: 'services', antiSpoof: false },
  ports: [{ interfaceName: 've-c3', mac: '02:00:00:00:00:07', ip4: parseIp('10.201.0.7'), ip6: undefined }]
}
const state: FirewallState = {
  networks: [network, other],
  borrowed: [
    { interfaceName: 've-c4', subnets: ['192.168.7.0/28', 'fd07::/64'].flatMap((text) => parsePrefix(text) ?? []) }
  ],
  localhostForward: true,
  forwards: ['80', 'udp:53', '192.0.2.1:8000-8009', '[2001:db8::1]:443'].map((listen): ActiveForward => ({
    ...readForward('c1', listen, ''),
    ip4,
    ip6
  })),
  kept: [22, 80]
}
const strict = { ...networkDefaults, isolation: 'ports', hostAccess: 'no', antiSpoof: false } as const
const others = ['udp:53', '[2001:db8::1]:443', '81'].map((listen): ActiveForward => ({
  ...readForward('c2', listen, listen === 'udp:53' ? '54' : ''),
  ip4: parseIp('10.200.0.6'),
  ip6
}))
const changed = {
  ...state,
  networks: [{ ...network, config: { ...strict, antiSpoof: true }, ports: network.ports.slice(0, 1) }],
  forwards: [...state.forwards.slice(2), ...others],
  kept: [22]
}
const rulesets = {
  full: rulesFor(state),
  changed: rulesFor(changed),
  empty: rulesFor({ ...state, networks: [{ ...network, ports: [] }], forwards: [], kept: [] }),
  strict: rulesFor({ ...state, networks: [{ ...network, config: strict }], localhostForward: false }),
  bare: rulesFor({ ...state, networks: [{ ...network, subnet6: undefined, ports: [] }], forwards: [] }),
  gone: noRules
}
type Name = keyof typeof rulesets
const changes: readonly [Name, Name][] = [
  ['full', 'changed'],
  ['changed', 'empty'],
  ['empty', 'full']
]
const write = (name: string, text: string): void => {
  writeFileSync(join(directory, `${name}.nft`), text)
}
for (const [name, rules] of Object.entries(rulesets)) write(name, wholeDocument(rules))
for (const [before, after] of changes)
  write(`${before}-${after}`, changeDocument(rulesets[before], rulesets[after]) ?? '')

for (const { root } of ROOTS) {
  t.test(`the nft of ${root} takes every document after every other, twice`, async (t) => {
    const { path } = await hostRoot(root)
    const order = ['gone', 'full', 'full', 'bare', 'strict', 'full', 'gone', 'gone', 'bare', 'full']
    const listed = await inside(
      path,
      `for name in ${order.join(' ')}; do nft -f /mnt/$name.nft; done; nft list ruleset`
    )
    t.match(listed, /map bound4_port \{[^}]*192\.0\.2\.1 \. (?:tcp|6) \. 8009 : 8009/)
    t.match(listed, /map free6_addr \{[^}]*(?:udp|17) \. 53 : fd00::5/)
    t.match(listed, /set own4 \{[^}]*"mn-a-network-bl" \. 10\.201\.0\.0\/28/)
    t.match(listed, /set own6 \{[^}]*"ve-c4" \. fd07::\/64/)
    t.match(listed, /set ways \{[^}]*"ve-c4"/)
    t.notMatch(listed, 've-c3', 'in a network that is not guarded')
    t.match(listed, /set macs \{[^}]*"ve-c2" \. 02:00:00:00:00:06/)
    t.equal(await inside(path, 'nft -f /mnt/full.nft; nft -f /mnt/gone.nft; nft list ruleset'), '')
  })

  t.test(`what the nft of ${root} has changed is as if it was made so`, async (t) => {
    const { path } = await hostRoot(root)
    for (const [before, after] of changes) {
      const made = await inside(path, `nft -f /mnt/${after}.nft; nft list ruleset`)
      const script = `nft -f /mnt/${before}.nft; nft -f /mnt/${before}-${after}.nft; nft list ruleset`
      t.equal(sorted(await inside(path, script)), sorted(made), `from ${before} to ${after}`)
    }
  })
}

/** The kernel lists elements in no order. */
function sorted(listed: string): string {
  return listed.replace(/elements = \{([^}]*)\}/g, (_, list: string) =>
    list
      .split(',')
      .map((text) => text.trim())
      .sort()
      .join(', ')
  )
}

t.test('what differs in more than elements is no change, and what is the same is an empty one', (t) => {
  const of = (before: Ruleset, after: Ruleset): string | undefined => changeDocument(before, after)
  t.equal(of(rulesets.full, rulesets.strict), undefined)
  t.equal(of(rulesets.full, noRules), undefined)
  t.equal(of(rulesets.full, rulesFor(state)), '')
  t.notMatch(of(rulesets.full, rulesets.changed), /8000|table/, 'what stays is not in it')
  t.end()
})
