import t from 'tap'
import { TestHost } from '../host/host.ts'

const NAME = 'org.freedesktop.machine1'

/** Leaders that both daemons get to know, each in a unit of its own. */
const LEADERS = `
for unit in fixed network extended created createdex; do systemd-run -q --unit="$unit" sleep infinity; done
`

/**
 * Registers machines by every method, shows all there is to see of them and lets them go, in unlike ways. What differs
 * by nature is replaced: times, and the caller, who becomes supervisor.
 */
const SCRIPT = `
pid_of() { systemctl show -P MainPID "$1"; }
id_of() { python3 -c "import os; print(os.fstat(os.pidfd_open($1)).st_ino)"; }
manager() { busctl call ${NAME} /org/freedesktop/machine1 ${NAME}.Manager "$@"; }
machine() { name=$1; shift; busctl call ${NAME} "/org/freedesktop/machine1/machine/$name" "$@"; }
leader() { eval "pid_$1=$(pid_of "$1")"; eval "leader=\\$pid_$1"; id=$(id_of "$leader"); eval "id_$1=$id"; }
show() {
  echo "== $1"
  eval "pid=\\$pid_$1 pidfd_id=\\$id_$1"
  machine "$1" org.freedesktop.DBus.Properties GetAll s ${NAME}.Machine |
    sed -E -e 's/("(Timestamp|TimestampMonotonic)" t )[1-9][0-9]*/\\1TIME/g; s/("Supervisor(PIDFDId)?" [ut] )[1-9][0-9]*/\\1CALLER/g' \\
      -e "s/(.Leader. u )$pid /\\1LEADER /; s/(.LeaderPIDFDId. t )$pidfd_id /\\1LEADER /"
  sed -E -e "s/^LEADER=$pid\$/LEADER=LEADER/; s/^LEADER_PIDFDID=$pidfd_id\$/LEADER_PIDFDID=LEADER/" \\
    -e 's/^(REALTIME|MONOTONIC)=[1-9][0-9]*/\\1=TIME/; s/^(SUPERVISOR(_PIDFDID)?)=[1-9][0-9]*/\\1=CALLER/' \\
    "/run/systemd/machines/$1"
  stat -c '%a %U %G' "/run/systemd/machines/$1"
}
machine_id='16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16'
for name in fixed network extended created createdex; do leader $name; done
manager RegisterMachine sayssus fixed $machine_id 'a "service" $1' container "$pid_fixed" '/a b'
manager RegisterMachineWithNetwork sayssusai network 0 '' vm "$pid_network" '' 3 5 7 5
manager RegisterMachineEx 'sa(sv)' extended 9 Class s container Id ay $machine_id Service s test LeaderPID u "$pid_extended" \\
  LeaderPIDFDID t "$id_extended" NetworkInterfaces ai 2 1 2 VSockCID u 3 SSHAddress s 'a b' SSHPrivateKeyPath s /key
manager CreateMachine 'sayssusa(sv)' created 0 test container "$pid_created" / 1 TasksMax t 77
manager CreateMachineEx 'sa(sv)a(sv)' createdex 4 Class s vm LeaderPID u "$pid_createdex" LeaderPIDFDID t "$id_createdex" \\
  VSockCID u 4 1 Description s described
manager ListMachines | tr ' ' '\\n' | grep '/org/' | sort
for name in fixed network extended created createdex; do show "$name"; done
find /run/systemd/machines -printf '%f %l\\n' | sort
for unit in machine-created.scope machine-createdex.scope; do
  systemctl show -p Slice,Description,Delegate,TasksMax,CollectMode "$unit"
done
for name in fixed network extended created createdex; do manager UnregisterMachine s "$name"; done
find /run/systemd/machines -printf '%f %l\\n' | sort
echo "== the end"
systemd-run -q --collect --unit=ended sleep infinity
manager RegisterMachine sayssus ended 0 '' container "$(pid_of ended)" /
manager TerminateMachine s ended
while manager GetMachine s ended >/dev/null 2>&1; do sleep 0.1; done
systemd-run -q --collect --unit=killed sleep infinity
manager RegisterMachine sayssus killed 0 '' container "$(pid_of killed)" /
manager KillMachine ssi killed leader 9
while manager GetMachine s killed >/dev/null 2>&1; do sleep 0.1; done
`

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())

interface Message {
  type: string
  member?: string
  reply_cookie?: number
  cookie?: number
  payload?: { data: unknown[] }
}

/** What the script prints and what goes over the bus meanwhile: registering calls, their replies, and signals, in order. */
async function play(): Promise<{ printed: string[]; seen: string[] }> {
  const monitor = host.spawn(['busctl', 'monitor', '--json=short', NAME])
  let output = ''
  monitor.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  const probe = ['busctl', 'call', NAME, '/org/freedesktop/machine1', `${NAME}.Manager`, 'GetMachine', 's']
  // The first marks that the monitor listens, the last that it has seen all.
  await host.waitFor(async () => {
    await host.run([...probe, 'listening'], { reject: false })
    return output.includes('"listening"')
  }, 'the monitor')
  const { stdout } = await host.run(['sh', '-s'], { input: SCRIPT })
  await host.run([...probe, 'finished'], { reject: false })
  await host.waitFor(() => output.includes('"finished"'), 'the monitor to catch up')
  monitor.kill()
  return { printed: stdout.split('\n'), seen: traffic(output) }
}

function traffic(output: string): string[] {
  const calls = new Map<number, string>()
  const seen: string[] = []
  for (const line of output.split('\n').filter((text) => text.startsWith('{') && text.endsWith('}'))) {
    const { type, member = '', cookie = 0, reply_cookie: reply, payload } = JSON.parse(line) as Message
    if (type === 'method_call' && /^(Create|Register|Unregister|Terminate|Kill)/.test(member)) {
      // Each call comes from a busctl of its own, which numbers it alike: the latest is the one that is answered.
      calls.set(cookie, member)
      seen.push(`call ${member} ${String(payload?.data[0])}`)
    } else if (type === 'signal' && member.startsWith('Machine')) {
      seen.push(`signal ${member} ${JSON.stringify(payload?.data)}`)
    } else if (type === 'method_return' && reply !== undefined && calls.has(reply)) {
      seen.push(`reply to ${calls.get(reply) ?? ''} ${JSON.stringify(payload?.data)}`)
      calls.delete(reply)
    }
  }
  return seen
}

await host.run(['sh', '-es'], { input: LEADERS })
await host.useStock()
const stock = await play()
// These leaders have left their units for scopes, and end with those.
await host.run(['systemctl', 'stop', 'machine-created.scope', 'machine-createdex.scope'])
await host.run(['sh', '-s'], { input: LEADERS.replace('fixed network extended ', '') })
await host.useOurs()
const ours = await play()

t.test('machines look as with the stock daemon', (t) => {
  t.strictSame(ours.printed, stock.printed)
  t.end()
})

t.test('calls, replies and signals come as with the stock daemon', (t) => {
  t.strictSame(ours.seen, stock.seen)
  t.end()
})
