import { execa } from 'execa'
import t from 'tap'
import { NetworkNamespace } from '../../daemon/linux/namespace.ts'
import { TABLE } from '../../daemon/network/firewall-document.ts'
import { RuleWatch } from '../../daemon/network/rule-watch.ts'
import { hostRoot } from '../host/root.ts'
import { ThrowAwayNetwork } from '../linux/throw-away-network.ts'

const PAUSE_MS = 1000

void t.test(
  'rules that are taken away are put back, and after a pause also where somebody goes on taking them',
  { skip: process.getuid?.() !== 0 },
  async (t) => {
    const { path } = await hostRoot('debian13')
    const network = await ThrowAwayNetwork.start('true')
    using own = new NetworkNamespace()
    const nft = async (...words: string[]): Promise<void> => {
      const enter = ['--net', '--target', String(network.process.pid), 'chroot', path, '/usr/sbin/nft']
      await execa('nsenter', [...enter, ...words], { env: { PATH: '/usr/sbin:/usr/bin' }, extendEnv: false })
    }
    const make = (): Promise<void> => nft('add', 'table', 'inet', TABLE)
    const repairs: number[] = []
    const repair = async (): Promise<void> => {
      await make()
      repairs.push(performance.now())
    }
    const watch = own.inside(network.process, () => new RuleWatch(repair, PAUSE_MS))
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
