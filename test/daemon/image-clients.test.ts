import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client, ROOTS } from './client.ts'

// What the clients of three versions of systemd do with images.

const POOL = '/var/lib/machines'

for (const { root, systemd } of ROOTS) {
  t.test(`images and the clients of systemd ${String(systemd)}`, async (t) => {
    await using host = await TestHost.start({ root })
    const client = new Client(host)
    const images = async (...options: string[]): Promise<string[]> => {
      const lines = await client.output('machinectl', 'list-images', '--no-legend', ...options)
      return lines.split('\n').flatMap((line) => line.split(' ')[0] || [])
    }

    await t.test('what systemd-importd has unpacked is an image', async (t) => {
      await host.run([
        'sh',
        '-euc',
        'mkdir -p /root/tree/etc /root/tree/usr; echo ID=imported >/root/tree/etc/os-release'
      ])
      await host.run(['tar', '-C', '/root/tree', '-czf', '/root/tree.tar.gz', '.'])
      await host.run(['machinectl', 'import-tar', '/root/tree.tar.gz', 'imported'])
      t.ok((await images()).includes('imported'))
      t.match((await client.call('GetImageOSRelease', 's', 'imported')).stdout, '"ID" "imported"')
      await host.run(['machinectl', '--read-only', 'import-tar', '/root/tree.tar.gz', 'read-only'])
      t.match(await client.output('machinectl', 'show-image', 'read-only'), /^ReadOnly=yes$/m)
      await host.run(['machinectl', 'remove', 'read-only'])
      t.notOk((await images()).includes('read-only'))
    })

    await t.test('an image is started at boot, under its name, as long as that is wanted', async (t) => {
      const enabled = async (name = 'imported'): Promise<string> =>
        (await host.run(['systemctl', 'is-enabled', `systemd-nspawn@${name}.service`], { reject: false })).stdout
      await host.run(['machinectl', 'enable', 'imported'])
      t.equal(await enabled(), 'enabled')
      await host.run(['machinectl', 'disable', 'imported'])
      t.equal(await enabled(), 'disabled')
      t.not((await host.run(['machinectl', 'enable', 'nothing'], { reject: false })).exitCode, 0)

      await host.run(['machinectl', 'enable', 'imported'])
      const drop = '/etc/systemd/system/systemd-nspawn@other.service.d/own.conf'
      await host.writeFile(drop.replace('other', 'imported'), '[Unit]\nDescription=Mine\n')
      await host.run(['machinectl', 'rename', 'imported', 'other'])
      t.equal(await enabled('other'), 'enabled', 'as before, under its new name')
      t.equal(await enabled(), 'disabled')
      t.match(await host.readFile(drop), 'Mine')
      await host.run(['machinectl', 'clone', 'other', 'imported'])
      t.equal(await enabled(), 'disabled')
      await host.run(['machinectl', 'remove', 'other'])
      t.equal(await enabled('other'), 'disabled', 'nothing is left of it')
      t.equal((await host.run(['ls', drop], { reject: false })).stdout, '')
    })

    await t.test(
      'settings of an image are edited and shown',
      { skip: systemd < 254 && 'machinectl has no edit and cat yet' },
      async (t) => {
        await host.writeFile('/root/edit', '#!/bin/sh\nfor file; do printf "[Exec]\\nBoot=no\\n" >"$file"; done\n')
        await host.run(['chmod', '+x', '/root/edit'])
        await host.run(['env', 'SYSTEMD_EDITOR=/root/edit', 'script', '-qec', 'machinectl edit imported', '/dev/null'])
        t.match(await client.output('machinectl', 'cat', 'imported'), /^Boot=no$/m)
      }
    )

    await t.test('cleaning removes what is hidden, or all', async (t) => {
      await host.run([
        'sh',
        '-euc',
        `cd ${POOL}; mkdir .hidden other; truncate -s 1M .hidden-disk.raw; machinectl clean`
      ])
      t.strictSame(
        (await images('--all')).filter((name) => name !== '.host').sort(),
        ['imported', 'other'],
        'what systemd-importd keeps of an import goes, too'
      )
      await host.run(['machinectl', 'clean', '--all'])
      t.strictSame(await images('--all'), ['.host'])
      t.strictSame(await client.output('find', POOL, '-mindepth', '1'), '', 'nothing is left')
    })
  })
}
