import t from 'tap'
import { TestHost } from '../host/host.ts'

const NAME = 'org.freedesktop.machine1'

/**
 * What libvirt calls in the life of a virtual machine (spec/varlink-and-clients.md C2), with what its users see. Identifiers
 * that differ each time are replaced.
 */
const SCRIPT = `
manager() { busctl call ${NAME} /org/freedesktop/machine1 ${NAME}.Manager "$@" 2>&1 || echo "exit status $?"; }
unit='machine-qemu\\x2d3\\x2dfedora40.scope'
busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ListActivatableNames | grep -o '"${NAME}"'
systemd-run -q --collect --unit=qemu sleep infinity
pid=$(systemctl show -P MainPID qemu.service)
uuid='16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16'
props='3 Slice s machine.slice After as 2 libvirtd.service virtqemud.service Before as 1 virt-guest-shutdown.target'
manager CreateMachineWithNetwork 'sayssusaia(sv)' qemu-3-fedora40 $uuid libvirt-qemu vm "$pid" '' 2 5 7 $props
grep ^0:: "/proc/$pid/cgroup"
busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager SetUnitProperties \\
  'sba(sv)' "$unit" true 1 TasksMax t 55
systemctl show -p TasksMax -p Slice -p Description -p Delegate "$unit"
systemctl show -p After -p Before --value "$unit" | tr ' ' '\\n' | grep virt | sort
manager GetMachineByPID u "$pid"
path=/org/freedesktop/machine1/machine/qemu_2d3_2dfedora40
for property in Name Unit Service Class Id NetworkInterfaces; do
  busctl get-property ${NAME} "$path" ${NAME}.Machine "$property"
done
systemd-run -q --collect --unit=old sleep infinity
old=$(systemctl show -P MainPID old.service)
manager CreateMachineWithNetwork 'sayssusaia(sv)' qemu-3-fedora40 $uuid libvirt-qemu vm "$old" '' 0 $props
manager GetMachineByPID u 1
manager TerminateMachine s qemu-3-fedora40
while manager GetMachine s qemu-3-fedora40 | grep -q '^o '; do sleep 0.1; done
dbus-send --system --print-reply --dest=${NAME} /org/freedesktop/machine1 ${NAME}.Manager.TerminateMachine \\
  string:qemu-3-fedora40 2>&1
manager CreateMachine 'sayssusa(sv)' lxc-4-old $uuid libvirt-lxc container "$old" / 1 After as 1 libvirtd.service
grep ^0:: "/proc/$old/cgroup"
manager TerminateMachine s lxc-4-old
while manager GetMachine s lxc-4-old | grep -q '^o '; do sleep 0.1; done`

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())

t.test('libvirt sees what it sees with the stock daemon', async (t) => {
  const play = async (): Promise<string[]> => (await host.run(['sh', '-s'], { input: SCRIPT })).stdout.split('\n')
  await host.useStock()
  const stock = await play()
  await host.useOurs()
  const ours = await play()
  t.strictSame(ours, stock)
  const all = ours.join('\n')
  t.match(all, 'machine.slice/machine-qemu\\x2d3\\x2dfedora40.scope')
  t.match(all, 'TasksMax=55')
  t.match(all, `Error ${NAME}.NoSuchMachine`)
  t.match(all, 'virt-guest-shutdown.target')
})
