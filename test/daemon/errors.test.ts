import t from 'tap'
import { TestHost } from '../host/host.ts'

const NAME = 'org.freedesktop.machine1'

/** A call as dbus-send(1) takes it: object, method and arguments, with spaces between. */
type Call = string

const MACHINE_PROPERTIES =
  'Name Id Timestamp TimestampMonotonic Service Unit Scope Subgroup Leader LeaderPIDFDId Supervisor SupervisorPIDFDId Class RootDirectory NetworkInterfaces VSockCID SSHAddress SSHPrivateKeyPath State UID'.split(
    ' '
  )

function machinePath(name: string): string {
  return `/org/freedesktop/machine1/machine/${name.replace('.', '_2e')}`
}

/** Calls of root that fail or answer nothing, by object. None gets as far as to change something. */
const CALLS: readonly Call[] = [
  '/org/freedesktop/machine1/machine/nope org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.machine1.Machine',
  '/org/freedesktop/machine1/machine/nope org.freedesktop.DBus.Introspectable.Introspect',
  '/org/freedesktop/machine1/machine/nope org.freedesktop.machine1.Machine.Terminate',
  '/org/freedesktop/machine1/machine/nope org.freedesktop.machine1.Machine.Nope',
  '/org/freedesktop/machine1/machine/nope org.freedesktop.DBus.Properties.Set string:org.freedesktop.machine1.Machine string:Name variant:string:x',
  '/org/freedesktop/machine1/machine/nope/deeper org.freedesktop.machine1.Machine.Terminate',
  '/org/freedesktop/machine1/machine/_2ehost/deeper org.freedesktop.machine1.Machine.Terminate',
  '/org/freedesktop/machine1/machine/_2ehost/deeper org.freedesktop.DBus.Introspectable.Introspect',
  '/org/freedesktop/machine1/machine/_2Ehost org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Machine string:Name',
  '/org/freedesktop/machine1/machine/_zzhost org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Machine string:Name',
  '/org/freedesktop/machine1/machine/self org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Machine string:Nope',
  '/org/freedesktop/machine1/machine/self org.freedesktop.machine1.Machine.Nope',
  '/org/freedesktop/machine1/machine org.freedesktop.machine1.Machine.Terminate',
  '/org/freedesktop/machine1/machine org.freedesktop.DBus.Properties.GetAll string:',
  '/org/freedesktop/machine1/machine org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.machine1.Machine',
  '/org/freedesktop/machine1/machine org.freedesktop.DBus.Properties.Get string:a string:b',
  '/org/freedesktop/machine1/machine org.freedesktop.DBus.Properties.Set string:org.freedesktop.machine1.Machine string:Name variant:string:info',
  '/org/freedesktop/machine1/machine org.freedesktop.DBus.Properties.Nope',
  '/org/freedesktop/machine1/machine org.freedesktop.DBus.Properties.Get',
  '/org/freedesktop/machine1/machine org.freedesktop.DBus.Introspectable.Nope',
  '/org/freedesktop/machine1/machine org.freedesktop.DBus.ObjectManager.GetManagedObjects',
  '/nope org.freedesktop.DBus.Peer.Nope',
  '/nope org.freedesktop.DBus.Peer.Ping string:x',
  '/nope org.freedesktop.machine1.Manager.ListMachines',
  '/nope org.freedesktop.DBus.Introspectable.Introspect',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Peer.Ping string:x',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Peer.Nope',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Peer.GetMachineId string:x',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.Nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Nope.ListMachines',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Nope.Nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Machine.Terminate',
  '/org/freedesktop/machine1 org.freedesktop.machine1.manager.ListMachines',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.listMachines',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.Introspect',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MachineNew',
  '/org/freedesktop/machine1 org.freedesktop.DBus.ObjectManager.GetManagedObjects',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Introspectable.Nope',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Introspectable.Introspect string:x',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.ListMachines string:x',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine uint32:1',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine string:a string:b',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine array:string:a,b',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine dict:string:string:a,b',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine variant:string:a',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineByPID int32:1',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:a string:b uint32:1',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:a',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:a uint32:1',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Manager string:Nope',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Nope string:PoolPath',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string: string:PoolPath',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:not-an-interface string:Nope',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Manager string:not-a-member',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Manager string:',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Manager string:toString',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Manager string:ListMachines',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Get string:org.freedesktop.DBus.Peer string:Nope',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.GetAll',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.GetAll uint32:1',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.machine1.Nope',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.GetAll string:not-an-interface',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.machine1.Machine',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.DBus.Peer',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.DBus.ObjectManager',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Set',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Set string:a string:b string:c',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine string:nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine string:',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachine string:foo/%s',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.TerminateMachine string:nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.TerminateMachine string:_',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.UnregisterMachine string:nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.UnregisterMachine string:.host',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineSSHInfo string:nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineSSHInfo string:.host',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineUIDShift string:nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineUIDShift string:',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineByPID uint32:4294967295',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineByPID uint32:4000000',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineByPID uint32:1',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineByPID uint32:2147483647',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.GetMachineByPID uint32:2147483648',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:nope string:all int32:15',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:nope string:x int32:999',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:.host string:x int32:15',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:.host string:supervisor int32:999',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:.host string:all int32:0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:.host string:all int32:65',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:.host string:all int32:-1',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapFromMachineUser string:nope uint32:0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapFromMachineUser string:nope uint32:4294967295',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapFromMachineUser string:.host uint32:65535',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapFromMachineUser string:.host uint32:0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapFromMachineGroup string:nope uint32:4294967295',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapFromMachineGroup string:.host uint32:0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineUser uint32:4294967295',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineUser uint32:65535',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineUser uint32:0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineUser uint32:1000',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineUser uint32:65536',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineUser uint32:600000',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineGroup uint32:4294967295',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineGroup uint32:0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.MapToMachineGroup uint32:600000',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a/b array:byte:1,2 string: string:x uint32:1 string:rel',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string: array:byte: string: string:container uint32:2 string:',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:.host array:byte: string: string:container uint32:2 string:',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a array:byte:1,2 string: string:x uint32:1 string:rel',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a array:byte: string: string:host uint32:1 string:rel',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a array:byte: string: string:vm uint32:1 string:rel',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a array:byte: string: string:vm uint32:3999999 string:rel',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a array:byte: string: string:vm uint32:3999999 string:/../x',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a array:byte: string: string:vm uint32:3999999 string:/',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachineWithNetwork string:a array:byte: string: string:vm uint32:3999999 string:/ array:int32:0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachineWithNetwork string:a array:byte: string: string:vm uint32:0 string:/ array:int32:-1',
  '/org/freedesktop/machine1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.machine1.Manager string:Nope variant:string:info',
  '/org/freedesktop/machine1/nope org.freedesktop.machine1.Manager.ListMachines',
  '/org/freedesktop/machine1/nope org.freedesktop.DBus.Introspectable.Introspect',
  '/ org.freedesktop.machine1.Manager.ListMachines',
  '/ org.freedesktop.DBus.Properties.GetAll string:',
  '/org org.freedesktop.DBus.Properties.Get string:a string:b',
  '/org/freedesktop org.freedesktop.machine1.Manager.Nope',
  '/org/freedesktop/machine1/image/nope org.freedesktop.machine1.Image.Remove',
  '/org/freedesktop/machine1/image/nope org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.machine1.Image',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Machine.Nope',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Manager.ListMachines',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Nope.Terminate',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Machine.Terminate string:a',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Machine.Kill string:a',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Manager string:Name',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Machine string:name',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Machine string:Scope',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.machine1.Manager',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Set string:org.freedesktop.machine1.Machine string:Name variant:string:x',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Set string:org.freedesktop.machine1.Machine string:Name variant:uint32:1',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Set string:org.freedesktop.machine1.Machine string:Nope variant:string:x',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Set string:org.freedesktop.machine1.Nope string:Name variant:string:x',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Set string:not-an-interface string:Name variant:string:x',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Machine.GetSSHInfo',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Machine.Kill string:all int32:65',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Machine string:Name string:x',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.DBus.Properties.Get string:org.freedesktop.machine1.Machine string:Nope string:x',
  '/org/freedesktop/LogControl1 org.freedesktop.LogControl1.Nope',
  '/org/freedesktop/LogControl1 org.freedesktop.machine1.Manager.ListMachines',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.machine1.Manager',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.DBus.Properties',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:SyslogIdentifier variant:string:x',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogLevel variant:uint32:1',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogLevel variant:string:loud',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogLevel variant:string:',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogTarget variant:string:moon',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogTarget variant:array:string:a',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.GetAll string:org.freedesktop.LogControl1 string:x',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.GetAll string:a string:x',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogLevel string:info',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogLevel uint32:1',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogLevel array:string:x',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:SyslogIdentifier string:info',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:SyslogIdentifier',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1',
  '/org/freedesktop/LogControl1 org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 uint32:1 variant:string:info'
]

/** Calls of a user who is nobody in particular. */
const USER_CALLS: readonly Call[] = [
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.TerminateMachine string:.host',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.TerminateMachine string:nope',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:.host string:all int32:99',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.KillMachine string:.host string:all int32:15',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.UnregisterMachine string:.host',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a array:byte: string: string:vm uint32:1 string:/',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager.RegisterMachine string:a array:byte: string: string:vm uint32:0 string:/',
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Machine.Terminate'
]

/**
 * Calls of root as busctl(1) takes them, with all that dbus-send cannot say: object, interface, member, signature,
 * arguments. A shell expands them, see `prepare`.
 */
const BUSCTL_CALLS: readonly Call[] = [
  ...[
    // Arguments are checked one after the other: of two bad ones, the first is named.
    "RegisterMachine sayssus foo_bar 2 1 2 '' nope 1 rel",
    "RegisterMachine sayssus -a 0 '' container $LEADER ''",
    "RegisterMachine sayssus a- 0 '' container $LEADER ''",
    "RegisterMachine sayssus a..b 0 '' container $LEADER ''",
    "RegisterMachine sayssus .a 0 '' container $LEADER ''",
    "RegisterMachine sayssus a. 0 '' container $LEADER ''",
    "RegisterMachine sayssus aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg 0 '' container $LEADER ''",
    "RegisterMachine sayssus x 15 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 '' nope 1 rel",
    "RegisterMachine sayssus x 0 '' Container 1 rel",
    "RegisterMachine sayssus x 0 '' host 1 rel",
    "RegisterMachine sayssus x 0 '' container 1 rel",
    "RegisterMachine sayssus x 0 '' container 4294967295 /",
    "RegisterMachine sayssus x 0 '' container 2147483648 /",
    "RegisterMachine sayssus x 0 '' container 2147483647 /",
    "RegisterMachine sayssus x 0 '' container $LEADER rel",
    "RegisterMachine sayssus x 0 '' container $LEADER /$LONG_NAME",
    "RegisterMachine sayssus x 0 '' container $LEADER $LONG_PATH",
    "RegisterMachine sayssus x 0 '' container 0 /",
    "RegisterMachine sayssus alpha 0 '' container $OTHER /",
    "RegisterMachine sayssus alpha 0 '' container 4000000 /",
    "RegisterMachine sayssus alpha 0 '' vm 1 /",
    "RegisterMachineWithNetwork sayssusai x 0 '' nope $LEADER / 2 5 0",
    "RegisterMachineWithNetwork sayssusai x 0 '' nope $LEADER / 2 5 -1",
    "RegisterMachineWithNetwork sayssusai x 0 '' nope $LEADER / 0",
    "CreateMachine sayssusa(sv) foo_bar 0 '' container $LEADER / 0",
    "CreateMachine sayssusa(sv) alpha 0 '' container $OTHER / 0",
    "CreateMachine sayssusa(sv) taken 0 '' container 0 / 0",
    "CreateMachine sayssusa(sv) x 0 '' container 0 / 1 TasksMax s x",
    "CreateMachine sayssusa(sv) x 0 '' container 0 / 1 Slice s nope",
    "CreateMachineWithNetwork sayssusaia(sv) x 0 '' container $LEADER / 1 0 0",
    'CreateMachineEx sa(sv)a(sv) foo_bar 1 Nope s x 0',
    'CreateMachineEx sa(sv)a(sv) alpha 1 Class s vm 0',
    'RegisterMachineEx sa(sv) foo_bar 1 Nope s x',
    'RegisterMachineEx sa(sv) x 1 Nope s x',
    'RegisterMachineEx sa(sv) x 1 class s vm',
    'RegisterMachineEx sa(sv) x 2 Class s nope Nope s x',
    'RegisterMachineEx sa(sv) x 2 RootDirectory s rel Nope s x',
    'RegisterMachineEx sa(sv) x 2 Id ay 1 1 Nope s x',
    'RegisterMachineEx sa(sv) x 2 Nope s x Id ay 1 1',
    'RegisterMachineEx sa(sv) x 2 Class s nope Id ay 1 1',
    'RegisterMachineEx sa(sv) x 2 Class s nope RootDirectory s rel',
    'RegisterMachineEx sa(sv) x 2 Class s host RootDirectory s /',
    'RegisterMachineEx sa(sv) x 2 Class s vm RootDirectory s rel',
    'RegisterMachineEx sa(sv) x 2 NetworkInterfaces ai 2 3 0 Class s nope',
    'RegisterMachineEx sa(sv) x 2 NetworkInterfaces ai 1 -5 Class s nope',
    'RegisterMachineEx sa(sv) x 1 Id s x',
    'RegisterMachineEx sa(sv) x 1 Class u 1',
    'RegisterMachineEx sa(sv) x 1 LeaderPID t 1',
    'RegisterMachineEx sa(sv) x 1 LeaderPIDFD u 1',
    'RegisterMachineEx sa(sv) x 1 LeaderPIDFDID u 1',
    'RegisterMachineEx sa(sv) x 1 NetworkInterfaces au 1 1',
    'RegisterMachineEx sa(sv) x 1 VSockCID t 5',
    'RegisterMachineEx sa(sv) x 1 SSHAddress u 5',
    'RegisterMachineEx sa(sv) x 2 Class s vm LeaderPID u $LEADER',
    'RegisterMachineEx sa(sv) x 2 Class s vm LeaderPIDFDID t $LEADER_ID',
    'RegisterMachineEx sa(sv) x 3 Class s vm LeaderPID u $LEADER LeaderPIDFDID t 0',
    'RegisterMachineEx sa(sv) x 3 Class s vm LeaderPID u $LEADER LeaderPIDFDID t $OTHER_ID',
    'RegisterMachineEx sa(sv) x 3 Class s vm LeaderPID u 4000000 LeaderPIDFDID t $OTHER_ID',
    'RegisterMachineEx sa(sv) x 3 Class s vm LeaderPID u 4294967295 LeaderPIDFDID t $OTHER_ID',
    'RegisterMachineEx sa(sv) x 3 Class s vm LeaderPID u $OTHER LeaderPIDFD h $LEADER_FD',
    'RegisterMachineEx sa(sv) x 3 Class s vm LeaderPIDFDID t $OTHER_ID LeaderPIDFD h $LEADER_FD',
    'RegisterMachineEx sa(sv) x 4 Class s vm LeaderPID u $OTHER LeaderPIDFDID t $OTHER_ID LeaderPIDFD h $LEADER_FD',
    'RegisterMachineEx sa(sv) x 2 Class s vm LeaderPIDFD h $NULL_FD',
    'RegisterMachineEx sa(sv) x 2 Class s vm LeaderPIDFD h $DEAD_FD',
    'RegisterMachineEx sa(sv) x 2 Class s vm LeaderPIDFD h $INIT_FD',
    'RegisterMachineEx sa(sv) x 3 Class s vm LeaderPID u 1 LeaderPIDFDID t $INIT_ID',
    'RegisterMachineEx sa(sv) alpha 2 Class s vm LeaderPIDFD h $OTHER_FD',
    'RegisterMachineEx sa(sv) x 1 Class s container',
    'GetMachineByPID u 0',
    'GetMachineByPID u $LEADER',
    'GetMachineByPID u $CHILD',
    'GetMachineByPID u $OUTSIDE',
    'KillMachine ssi alpha nobody 15',
    'KillMachine ssi alpha nobody 0',
    'KillMachine ssi alpha leader 0',
    'KillMachine ssi alpha leader 65',
    'KillMachine ssi alpha leader -1',
    'KillMachine ssi alpha supervisor 9',
    'KillMachine ssi inside supervisor 9',
    'KillMachine ssi .host leader 15',
    'KillMachine ssi .host all 15',
    "KillMachine ssi .host '' 15",
    'KillMachine ssi strayed all 15',
    'TerminateMachine s .host',
    'TerminateMachine s obstinate',
    'TerminateMachine s inside',
    'UnregisterMachine s _2ehost',
    'GetMachineSSHInfo s alpha',
    'GetMachineSSHInfo s half',
    'GetMachineUIDShift s alpha',
    'GetMachineUIDShift s beta',
    'GetMachineUIDShift s mapped',
    'MapFromMachineUser su alpha 5',
    'MapFromMachineUser su alpha 4294967294',
    'MapFromMachineUser su alpha 65535',
    'MapFromMachineUser su nope 65535',
    'MapFromMachineUser su nope 5',
    'MapFromMachineUser su beta 5',
    'MapFromMachineUser su mapped 5',
    'MapFromMachineGroup su alpha 5',
    'MapFromMachineGroup su beta 5',
    'MapFromMachineGroup su mapped 5',
    'MapFromMachineGroup su mapped 4294967295',
    'MapToMachineUser u 65535',
    'MapToMachineUser u 65534',
    'MapToMachineUser u 65536',
    'MapToMachineGroup u 65535',
    'MapToMachineGroup u 65534',
    'MapToMachineGroup u 70000'
  ].map((call) => `/org/freedesktop/machine1 org.freedesktop.machine1.Manager ${call}`),
  ...['.host', 'alpha', 'nope'].flatMap((name) => [
    `${machinePath(name)} org.freedesktop.machine1.Machine Kill si nobody 15`,
    `${machinePath(name)} org.freedesktop.machine1.Machine Kill si all 65`,
    `${machinePath(name)} org.freedesktop.machine1.Machine Kill si supervisor 15`,
    `${machinePath(name)} org.freedesktop.machine1.Machine GetSSHInfo`,
    `${machinePath(name)} org.freedesktop.machine1.Machine GetUIDShift`,
    `${machinePath(name)} org.freedesktop.machine1.Machine UnregisterMachine`,
    `${machinePath(name)} org.freedesktop.machine1.Machine Terminate s x`,
    `${machinePath(name)} org.freedesktop.DBus.Properties Get ss org.freedesktop.machine1.Machine MachineNew`,
    ...MACHINE_PROPERTIES.map(
      (property) =>
        `${machinePath(name)} org.freedesktop.DBus.Properties Set ssv org.freedesktop.machine1.Machine ${property} s x`
    )
  ]),
  '/org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Machine Terminate',
  '/org/freedesktop/machine1/machine/self org.freedesktop.machine1.Machine Terminate',
  '/org/freedesktop/machine1/machine/self org.freedesktop.DBus.Properties GetAll s org.freedesktop.machine1.Machine',
  '/org/freedesktop/machine1/machine/self org.freedesktop.DBus.Introspectable Introspect',
  // The last one: the stock daemon stops the unit of a leader that it knows already (spec/dbus.md 13, 12).
  "/org/freedesktop/machine1 org.freedesktop.machine1.Manager RegisterMachine sayssus second 0 '' container $DOOMED /"
]

/** Calls of root from a process of the machine alpha, as busctl takes them. */
const INSIDE_CALLS: readonly Call[] = [
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager GetMachineByPID u 0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager GetMachine s self',
  '/org/freedesktop/machine1/machine/self/deeper org.freedesktop.machine1.Machine Terminate',
  '/org/freedesktop/machine1/machine/self org.freedesktop.machine1.Machine Kill si nobody 15',
  '/org/freedesktop/machine1/machine/self org.freedesktop.machine1.Machine GetUIDShift',
  ...MACHINE_PROPERTIES.filter((name) => !/^(Supervisor|Timestamp)/.test(name)).map(
    (name) =>
      `/org/freedesktop/machine1/machine/self org.freedesktop.DBus.Properties Get ss org.freedesktop.machine1.Machine ${name}`
  ),
  '/org/freedesktop/machine1/machine/self org.freedesktop.DBus.Properties Set ssv org.freedesktop.machine1.Machine Name s x',
  '/org/freedesktop/machine1/machine/_73elf org.freedesktop.machine1.Machine Terminate'
]

/** Calls of a user who is nobody in particular, as busctl takes them. */
const USER_BUSCTL_CALLS: readonly Call[] = [
  "/org/freedesktop/machine1 org.freedesktop.machine1.Manager RegisterMachine sayssus alpha 0 '' container $OTHER /",
  "/org/freedesktop/machine1 org.freedesktop.machine1.Manager RegisterMachine sayssus x 0 '' container $OTHER /",
  "/org/freedesktop/machine1 org.freedesktop.machine1.Manager RegisterMachine sayssus x 0 '' container 1 /",
  "/org/freedesktop/machine1 org.freedesktop.machine1.Manager CreateMachine sayssusa(sv) alpha 0 '' container $OTHER / 0",
  "/org/freedesktop/machine1 org.freedesktop.machine1.Manager CreateMachine sayssusa(sv) x 0 '' container $OTHER / 0",
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager CreateMachineEx sa(sv)a(sv) alpha 1 Class s vm 0',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager RegisterMachineEx sa(sv) x 1 Nope s x',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager RegisterMachineEx sa(sv) x 1 Class s vm',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager KillMachine ssi alpha leader 9',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager KillMachine ssi alpha nobody 9',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager TerminateMachine s alpha',
  '/org/freedesktop/machine1 org.freedesktop.machine1.Manager UnregisterMachine s alpha',
  '/org/freedesktop/machine1/machine/alpha org.freedesktop.machine1.Machine Terminate',
  '/org/freedesktop/machine1/machine/alpha org.freedesktop.machine1.Machine Kill si all 15',
  '/org/freedesktop/machine1/machine/alpha org.freedesktop.machine1.Machine GetSSHInfo',
  '/org/freedesktop/machine1/machine/alpha org.freedesktop.DBus.Properties Get ss org.freedesktop.machine1.Machine Scope'
]

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())

/** Processes that live through both daemons: machines' leaders in units, and one in no unit. */
const UNITS = `
start() { unit=$1; shift; systemd-run -q --unit="$unit" "$@"; }
start alpha sh -c 'sleep infinity & exec sleep infinity'
start other sleep infinity
start half sleep infinity
start beta sleep infinity
start mapped -p PrivateUsers=yes sleep infinity
start obstinate -p RefuseManualStop=yes sleep infinity
sleep infinity >/dev/null 2>&1 &
busctl -q call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \\
  StartTransientUnit 'ssa(sv)a(sa(sv))' machine-taken.scope fail 1 PIDs au 1 $! 0
sleep infinity >/dev/null 2>&1 &
echo $! >/run/outside
`

/** Machines of every kind, registered with the daemon that runs. */
const MACHINES = `
pid_of() { systemctl show -P MainPID "$1"; }
machine1() { busctl -q call ${NAME} /org/freedesktop/machine1 ${NAME}.Manager "$@"; }
register() { machine1 RegisterMachine sayssus "$1" 0 '' "$2" "$3" ''; }
register alpha container "$(pid_of alpha)"
register beta vm "$(pid_of beta)"
register mapped container "$(pid_of mapped)"
register obstinate vm "$(pid_of obstinate)"
half=$(pid_of half)
machine1 RegisterMachineEx 'sa(sv)' half 4 Class s vm SSHAddress s nowhere LeaderPID u "$half" \
  LeaderPIDFDID t "$(python3 -c "import os; print(os.fstat(os.pidfd_open($half)).st_ino)")"
# A leader that has left its unit, which is gone by now.
systemd-run -q --collect --unit=strayed --expand-environment=no sh -c 'sleep infinity & echo $! >/run/strayed; wait'
until test -s /run/strayed; do sleep 0.1; done
register strayed container "$(cat /run/strayed)"
cat /run/strayed >/sys/fs/cgroup/test-host/cgroup.procs
systemctl stop strayed.service
# A leader below its unit's group, whose supervisor is gone.
systemd-run -q --collect --unit=inside --expand-environment=no -p Delegate=yes sh -c \
  'group=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/payload; mkdir $group; echo $$ >$group/cgroup.procs; exec sleep infinity'
inside=$(pid_of inside)
until grep -q 'payload$' "/proc/$inside/cgroup"; do sleep 0.1; done
register inside vm "$inside"
systemd-run -q --collect --unit=doomed sleep infinity
register doomed vm "$(pid_of doomed)"
`

const NO_MACHINES = `
for name in alpha beta mapped obstinate half strayed inside doomed; do
  busctl -q call ${NAME} /org/freedesktop/machine1 ${NAME}.Manager UnregisterMachine s $name
done
kill "$(cat /run/strayed)"
rm /run/strayed
systemctl stop inside.service
systemctl stop doomed.service
`

/** Becomes a shell with variables for the processes that calls name, and descriptors for some. */
const PREPARED_SHELL = `
import os, subprocess, sys
def show(unit): return int(subprocess.check_output(['systemctl', 'show', '-P', 'MainPID', unit]))
# The shell's own descriptors have one digit.
def keep(fd): return os.dup2(fd, fd + 20)
def put(name, pid):
  fd = keep(os.pidfd_open(pid))
  os.environ.update({name: str(pid), name + '_FD': str(fd), name + '_ID': str(os.fstat(fd).st_ino)})
leader = show('alpha')
put('LEADER', leader)
put('OTHER', show('other'))
put('DOOMED', show('doomed'))
put('INIT', 1)
os.environ['CHILD'] = open(f'/proc/{leader}/task/{leader}/children').read().strip()
os.environ['OUTSIDE'] = open('/run/outside').read().strip()
child = subprocess.Popen(['true'])
put('DEAD', child.pid)
child.wait()
null = keep(os.open('/dev/null', os.O_RDONLY))
os.environ.update({'NULL_FD': str(null), 'LONG_NAME': 'a' * 256, 'LONG_PATH': '/a' * 2048})
os.execv('/bin/sh', ['sh', '-s'])
`

const SEPARATOR = '---- next call ----'

// Of the debug messages, those with the error's name are wanted.
const FUNCTIONS = `
errors='s/^Got message type=error .* error-name=\\(.*\\) error-message=/Error \\1: /p'
send() { dbus-send --system --print-reply=literal --dest=${NAME} "$@" 2>&1; echo '${SEPARATOR}'; }
call() {
  { SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_COLOR=0 busctl call -- ${NAME} "$@" 2>&1 >&3 | sed -n "$errors"; } 3>&1
  echo '${SEPARATOR}'
}
`

/** Makes the calls in one shell and returns what each prints: \`Error <name>: <text>\`, or the reply. */
async function answers(calls: readonly string[], prelude = '', user?: string): Promise<string[]> {
  const shell = ['python3', '-c', PREPARED_SHELL]
  const input = `${FUNCTIONS}${prelude}\n${calls.join('\n')}\n`
  const { stdout } = await host.run(shell, { input, ...(user !== undefined && { user }) })
  const texts = stdout.split(SEPARATOR).map((text) => text.trim())
  if (texts.length !== calls.length + 1) throw new Error(`Not every call was made: ${stdout}`)
  // Numbers of the daemon's descriptors and of the calling process.
  return texts.slice(0, -1).map((text) => text.replace(/(PIDFD|unit of process) \d+/, '$1 N'))
}

const sends = (calls: readonly Call[]): string[] => calls.map((call) => `send ${call}`)
// The parentheses of signatures mean something to the shell.
const busctls = (calls: readonly Call[]): string[] => calls.map((call) => `call ${call.replace(/\S*\(\S*/g, "'$&'")}`)

/** What the daemon that runs answers to all calls. */
async function allAnswers(): Promise<string[]> {
  await host.run(['sh', '-es'], { input: MACHINES })
  const all = [
    ...(await answers(sends(CALLS))),
    ...(await answers(sends(USER_CALLS), '', 'nobody')),
    ...(await answers(busctls(INSIDE_CALLS), 'echo $$ >/sys/fs/cgroup/system.slice/alpha.service/cgroup.procs\n')),
    ...(await answers(busctls(USER_BUSCTL_CALLS), '', 'nobody')),
    ...(await answers(busctls(BUSCTL_CALLS)))
  ]
  await host.run(['sh', '-s'], { input: NO_MACHINES, reject: false })
  return all
}

await host.run(['sh', '-es'], { input: UNITS })
await host.useStock()
const stock = await allAnswers()
await host.useOurs()
const ours = await allAnswers()

t.test('every call is answered as by the stock daemon', (t) => {
  const calls = [...CALLS, ...USER_CALLS, ...INSIDE_CALLS, ...USER_BUSCTL_CALLS, ...BUSCTL_CALLS]
  for (const [index, call] of calls.entries()) t.equal(ours[index], stock[index], call)
  t.end()
})

t.test('most calls do fail', (t) => {
  const failures = stock.filter((text) => text.startsWith('Error '))
  t.ok(failures.length > stock.length / 2)
  t.notOk(stock.some((text) => text.includes('NoReply')))
  t.end()
})
