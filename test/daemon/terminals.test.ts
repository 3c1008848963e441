import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client, ROOTS } from './client.ts'
import { Terminal } from './terminal.ts'

const ESCAPE = '\x1d'
const MAKE_USER = 'useradd -ms /bin/sh bob && echo PROFILE=read >>/home/bob/.profile'
const CONTAINERS = ['plain', 'veiled']

for (const { root, systemd } of ROOTS) {
  t.test(`terminals on systemd ${String(systemd)}`, async (t) => {
    const host = await TestHost.start({ root })
    t.teardown(() => host.stop())
    const client = new Client(host)
    await host.startContainer('plain')
    await host.startContainer('veiled', ['-U'])
    for (const name of CONTAINERS) await client.output('systemd-run', '-M', name, '-qP', 'sh', '-c', MAKE_USER)
    const at = (command: string): Terminal => new Terminal(host, command)

    for (const name of [...CONTAINERS, '.host']) {
      await t.test(`a program on a terminal of ${name}`, async (t) => {
        const { seen, status } = await at(`machinectl shell ${name} /bin/echo hi`).end()
        t.match(seen, /hi\r\n/)
        t.match(seen, /Connection to .* terminated/)
        t.equal(status, 0)
      })
    }

    for (const name of CONTAINERS) {
      await t.test(`a user's login shell in ${name}, on a terminal of the user's own`, async (t) => {
        const terminal = at(`machinectl shell -E GREETING=good\\ day bob@${name}`)
        await terminal.until(/\$ $/)
        terminal.type('echo "$0 $PROFILE $GREETING $HOME $PWD"\n')
        await terminal.until(/\/bin\/sh read good day \/home\/bob \/home\/bob\r\n/)
        terminal.type('stat -c "%U %t:%T" "$(tty)"; id -un\n')
        await terminal.until(/bob 88:\w+\r\nbob\r\n/)
        terminal.type('echo con"trolled" >/dev/tty; exit 3\n')
        const { seen, status } = await terminal.end()
        t.match(seen, /controlled\r\n/, 'it is the controlling terminal')
        t.equal(status, 0, 'how the shell ended is not told, as ever')
      })

      await t.test(`a login prompt in ${name}`, async () => {
        const terminal = at(`machinectl login ${name}`)
        await terminal.until(/Debian GNU\/Linux 13 .* pts\/\d+[^]*login: $/)
        terminal.type('bob\n')
        await terminal.until(/Password: /)
        terminal.type(ESCAPE.repeat(3))
        await terminal.end()
        // Its unit starts anew until the terminal is gone, and would take the next one of that number.
        const units = ['systemctl', '-M', name, 'list-units', '--no-legend', 'container-getty@*']
        const isOver = async (): Promise<boolean> => !/ (de)?activ(e|ating) /.test(await client.output(...units))
        await host.waitFor(isOver, 'the login to be over')
      })

      await t.test(`systemd-run in ${name}`, async (t) => {
        // That of 252 gives up without a word, with the stock daemon too.
        if (systemd > 252) {
          const { seen, status } = await at(`systemd-run -qM ${name} --wait --pty sh -c 'tty; exit 7'`).end()
          t.match(seen, /\/dev\/pts\/\d+\r\n/)
          t.equal(status, 7)
        }
        t.equal(await client.output('systemd-run', '-M', name, '-qP', 'echo', 'piped'), 'piped')
      })
    }

    await t.test('the size of the terminal reaches the program inside', async () => {
      const terminal = at(
        'stty rows 17 cols 71; tty >/run/tty; exec machinectl shell veiled /bin/sh -c \'trap "stty size" WINCH; stty size; while read line; do :; done\''
      )
      await terminal.until(/17 71\r\n/)
      await host.run(['sh', '-c', 'stty rows 23 cols 79 -F "$(cat /run/tty)"'])
      await terminal.until(/23 79\r\n/)
      terminal.type(ESCAPE.repeat(3))
      await terminal.end()
    })

    await t.test('three escapes end the session, and what ran in it', async () => {
      const terminal = at('machinectl shell veiled /bin/sh -c "echo up; exec sleep 4711"')
      await terminal.until(/up\r\n/)
      await client.output('pgrep', '-f', '^sleep 4711')
      terminal.type(ESCAPE.repeat(3))
      await terminal.end()
      const isGone = async (): Promise<boolean> =>
        (await host.run(['pgrep', '-f', '^sleep 4711'], { reject: false })).exitCode !== 0
      await host.waitFor(isGone, 'the program to be gone')
    })

    await t.test('a session goes on while the daemon restarts', async (t) => {
      const terminal = at('machinectl shell bob@veiled')
      await terminal.until(/\$ $/)
      terminal.type('echo be"fore"\n')
      await terminal.until(/before\r\n/)
      const argv = ['systemctl', 'show', '-P', 'MainPID', 'systemd-machined.service']
      const pid = await client.output(...argv)
      await host.run(['systemctl', 'restart', 'systemd-machined.service'])
      t.not(await client.output(...argv), pid)
      terminal.type('echo af"ter"; exit\n')
      t.match((await terminal.end()).seen, /after\r\n/)
    })
  })
}
