import { execa } from 'execa'
import t from 'tap'
import { NetworkNamespace } from '../../daemon/linux/namespace.ts'
import { RuleWatch } from '../../daemon/network/rule-watch.ts'
import { TABLE } from '../../daemon/network/ruleset.ts'
import { hostRoot } from '../host/root.ts'
import { ThrowAwayNetwork } from '../linux/throw-away-network.ts'

const PAUSE_MS = 1000
const isRoot = process.getuid?.() === 0

/** A network with an nft(8) in it. */
async function start(): Promise<{ network: ThrowAwayNetwork; nft: (...words: string[]) => Promise<void> }> {
  const { path } = await hostRoot('debian13')
  const network = await ThrowAwayNetwork.start('true')
  const nft = async (...words: string[]): Promise<void> => {
    const enter = ['--net', '--target', String(network.process.pid), 'chroot', path, '/usr/sbin/nft']
    await execa('nsenter', [...enter, ...words], { env: { PATH: '/usr/sbin:/usr/bin' }, extendEnv: false })
  }
  return { network, nft }
}

void t.test(
  'rules that are taken away are put back, and after a pause also where somebody goes on taking them',
  { skip: !isRoot },
  async (t) => {
    const { network, nft } = await start()
    using own = new NetworkNamespace()
    const make = (): Promise<void> => nft('add', 'table', 'inet', TABLE)
    const repairs: number[] = []
    const repair = async (): Promise<void> => {
      await make()
      repairs.push(performance.now())
    }
    const watch = own.inside(
      network.process,
      () => new RuleWatch({ repair, isOurs: () => false, offered: () => undefined, lost: () => undefined }, PAUSE_MS)
    )
    t.teardown(() => {
      watch?.close()
      return network.stop()
    })
    await make()
    for (let flushes = 1; flushes <= 5; flushes++) {
      await nft('flush', 'ruleset')
      while (repairs.length < flushes) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const [first = 0, , , fourth = 0] = repairs
    t.ok(fourth - first >= PAUSE_MS, 'the fourth had to wait')
    await t.rejects(
      make().then(() => nft('create', 'table', 'inet', TABLE)),
      'the table is there'
    )
  }
)

const DOCUMENT = `
  table inet ${TABLE}
  delete table inet ${TABLE}
  table inet ${TABLE} {
    set ports { type inet_service; elements = { 1, 2 } }
    map names { type inet_service : inet_service; elements = { 1 : 2 } }
    chain used { }
    chain rules { tcp dport @ports accept; jump used; }
  }`

void t.test('a part that is taken away or added is noticed, and nothing else', { skip: !isRoot }, async (t) => {
  const { network, nft } = await start()
  using own = new NetworkNamespace()
  let repairs = 0
  let done: () => void = () => undefined
  const repair = async (): Promise<void> => {
    await nft(DOCUMENT)
    repairs++
    done()
  }
  await nft('add table inet other')
  const watch = own.inside(
    network.process,
    () => new RuleWatch({ repair, isOurs: () => false, offered: () => undefined, lost: () => undefined }, 1)
  )
  t.teardown(() => {
    watch?.close()
    return network.stop()
  })
  // The first is what we do ourselves.
  for (const harmless of [DOCUMENT, 'delete table inet other', `table bridge ${TABLE} {}; ${DOCUMENT}`])
    await nft(harmless)
  const parts = ['flush chain', 'flush set', 'delete element', 'flush map', 'delete element', 'add rule', 'flush table']
  const rest = ['rules', 'ports', 'ports { 2 }', 'names', 'names { 1 }', 'used drop', '']
  for (const [index, part] of parts.entries()) {
    const repaired = new Promise<void>((resolve) => (done = resolve))
    await nft(`${part} inet ${TABLE} ${rest[index] ?? ''}`)
    await repaired
    t.equal(repairs, index + 1, part)
  }
})
