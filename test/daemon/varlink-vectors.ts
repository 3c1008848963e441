import { call, type Conversation, HOOK_SOCKET, USER_SOCKET } from './varlink-client.ts'

const M = 'io.systemd.Machine'
const U = 'io.systemd.UserDatabase'
const HOOK = 'io.systemd.Resolve.Hook'
const SERVICE = 'io.systemd.service'
const VARLINK = 'org.varlink.service'
const more = { more: true }

/** A conversation of one call on the machine socket. */
function one(method: string, parameters?: unknown, flags?: object): Conversation {
  return { messages: [call(method, parameters, flags)] }
}

function raw(...messages: string[]): Conversation {
  return { messages, replies: messages.length }
}

function user(method: string, parameters: unknown, flags?: object): Conversation {
  return { path: USER_SOCKET, messages: [call(`${U}.${method}`, parameters, flags)] }
}

function ask(...keys: object[]): Conversation {
  return { path: HOOK_SOCKET, messages: [call(`${HOOK}.ResolveRecord`, { question: keys.map((key) => ({ key })) })] }
}

const us = { service: M }
const x = { name: 'x', class: 'container' }

/** What is said when no machine is there (spec/varlink-and-clients.md D4, A2 to A18). */
export const bareVectors: Record<string, Conversation> = {
  info: one(`${VARLINK}.GetInfo`),
  'info of users': { path: USER_SOCKET, ...one(`${VARLINK}.GetInfo`, {}) },
  'info of the hook': { path: HOOK_SOCKET, ...one(`${VARLINK}.GetInfo`, null) },
  'no such interface': one(`${VARLINK}.GetInterfaceDescription`, { interface: 'io.example' }),
  'no interface named': one(`${VARLINK}.GetInterfaceDescription`),
  'no such method': one(`${M}.Nope`),
  'no such interface to call': one('io.example.Foo', {}),
  'no interface at all': one('Foo', {}),
  'an empty method': one('', {}),
  ping: one(`${SERVICE}.Ping`),
  'ping with a parameter': one(`${SERVICE}.Ping`, { a: 1 }),
  reload: one(`${SERVICE}.Reload`),
  'log level': {
    messages: [call(`${SERVICE}.SetLogLevel`, { level: '5' }), call(`${SERVICE}.GetLogLevel`)],
    replies: 2
  },
  'log level by name': one(`${SERVICE}.SetLogLevel`, { level: 'info' }),
  'log level too high': one(`${SERVICE}.SetLogLevel`, { level: 8 }),
  'no log level': one(`${SERVICE}.SetLogLevel`, {}),
  'log level back': one(`${SERVICE}.SetLogLevel`, { level: 6 }),
  upgrade: one(`${M}.List`, { name: '.host' }, { upgrade: true }),
  'more where there is only one reply': one(`${SERVICE}.Ping`, {}, more),
  oneway: {
    messages: [call(`${SERVICE}.Ping`, {}, { oneway: true }), call(`${SERVICE}.GetLogLevel`)],
    replies: 1
  },
  'oneway of an error': { messages: [call('a.B', {}, { oneway: true }), call(`${SERVICE}.GetLogLevel`)], replies: 1 },
  pipelined: raw(call(`${SERVICE}.Ping`), call('a.B'), call(`${SERVICE}.GetLogLevel`), call(`${SERVICE}.Ping`)),
  'half closed': { ...raw(call(`${SERVICE}.Ping`), call(`${SERVICE}.Ping`)), half_close: true },
  'a descriptor': { ...raw(call(`${SERVICE}.Ping`)), send_fd: true },
  'two flags': one(`${SERVICE}.Ping`, {}, { more: true, oneway: true }),
  'an unknown key': raw('{"method":"a.B","foo":1}'),
  'a flag that is none': raw('{"method":"a.B","more":1}'),
  'parameters that are none': raw('{"method":"a.B","parameters":[]}'),
  'no method': raw('{}'),
  'a method that is none': raw('{"method":1}'),
  'no JSON': raw('{'),
  'no object': raw('[]'),
  nothing: raw(''),
  'no UTF-8': raw('{"method":"a.\udcff"}'),
  'list without more': one(`${M}.List`),
  'list of one that is not there': one(`${M}.List`, { name: 'nope' }, more),
  'list of the host': one(`${M}.List`, { name: '.host' }),
  'list of the host by nothing else': one(`${M}.List`, { name: '.host', acquireMetadata: 'no' }, more),
  'list with a wrong enumeration': one(`${M}.List`, { name: '.host', acquireMetadata: 'true' }),
  'list of the caller': one(`${M}.List`, { pid: { pid: 0 } }),
  'list of a PID out of range': one(`${M}.List`, { pid: { pid: 99999999999 } }),
  'list of a negative PID': one(`${M}.List`, { pid: { pid: -1 } }),
  'list of PID 1': one(`${M}.List`, { pid: { pid: 1 } }),
  'list of a bare PID': one(`${M}.List`, { pid: 1 }),
  'list of a PID as text': one(`${M}.List`, { pid: { pid: '1' } }),
  'list of an empty name': one(`${M}.List`, { name: '' }),
  'list of a bad name': one(`${M}.List`, { name: 'a_b' }),
  'list of null': one(`${M}.List`, { name: null }, more),
  'register the host': one(`${M}.Register`, { name: 'x', class: 'host' }),
  'register without a class': one(`${M}.Register`, { name: 'x' }),
  'register without a name': one(`${M}.Register`, { class: 'vm' }),
  'register a bad name': one(`${M}.Register`, { name: 'a_b', class: 'container' }),
  'register .host': one(`${M}.Register`, { name: '.host', class: 'container' }),
  'register PID 0': one(`${M}.Register`, { ...x, leader: 0 }),
  'register PID 1': one(`${M}.Register`, { ...x, leaderProcessId: { pid: 1 } }),
  'register a PID that is not there': one(`${M}.Register`, { ...x, leader: 2147483647 }),
  'register interface 0': one(`${M}.Register`, { ...x, ifIndices: [0] }),
  'register an interface as text': one(`${M}.Register`, { ...x, ifIndices: ['3'] }),
  'register a relative key': one(`${M}.Register`, { ...x, sshPrivateKeyPath: 'rel' }),
  'register a winding root': one(`${M}.Register`, { ...x, rootDirectory: '/a/../b' }),
  'register a strange address': one(`${M}.Register`, { ...x, sshAddress: 'a\nb' }),
  'register a bad ID': one(`${M}.Register`, { ...x, id: 'abc' }),
  'register a low CID': one(`${M}.Register`, { ...x, vSockCid: 2 }),
  'register a high CID': one(`${M}.Register`, { ...x, vSockCid: 0xffffffff }),
  'register with something new': one(`${M}.Register`, { ...x, foo: 1 }),
  'register with a wrong flag': one(`${M}.Register`, { ...x, allowInteractiveAuthentication: 'yes' }),
  'terminate the host': one(`${M}.Terminate`, { name: '.host' }),
  'terminate nothing': one(`${M}.Terminate`, {}),
  'kill the host': one(`${M}.Kill`, { name: '.host', signal: 'SIGTERM' }),
  'kill by a wrong name': one(`${M}.Kill`, { name: '.host', signal: 'term' }),
  'kill by number': one(`${M}.Kill`, { name: '.host', signal: '15' }),
  'kill by a real-time signal': one(`${M}.Kill`, { name: '.host', signal: 'SIGRTMIN+4' }),
  'kill by 65': one(`${M}.Kill`, { name: '.host', signal: 65 }),
  'kill by 0': one(`${M}.Kill`, { name: '.host', signal: 0 }),
  'kill nobody in particular': one(`${M}.Kill`, { name: '.host', whom: 'nobody', signal: 9 }),
  'kill nothing': one(`${M}.Kill`, { signal: 9 }),
  'map to nothing': one(`${M}.MapTo`, {}),
  'map to a name': one(`${M}.MapTo`, { name: 'x' }),
  'map to a host user': one(`${M}.MapTo`, { uid: 1000 }),
  'map to a host group': one(`${M}.MapTo`, { gid: 1000 }),
  'map to nobody': one(`${M}.MapTo`, { uid: 70000 }),
  'map to no group': one(`${M}.MapTo`, { gid: 70000 }),
  'map to the invalid user': one(`${M}.MapTo`, { uid: 65535 }),
  'map from the host': one(`${M}.MapFrom`, { name: '.host', uid: 1 }),
  'map from the host and ask for a password': one(`${M}.MapFrom`, {
    name: '.host',
    uid: 1,
    allowInteractiveAuthentication: true
  }),
  'map from with text': one(`${M}.MapFrom`, { name: '.host', uid: '1' }),
  'map from the invalid group': one(`${M}.MapFrom`, { name: '.host', gid: 4294967295 }),
  'map from nothing': one(`${M}.MapFrom`, { uid: 1 }),
  'copy from the host': one(`${M}.CopyFrom`, { name: '.host', source: '/a' }),
  'copy a relative path': one(`${M}.CopyTo`, { name: '.host', source: 'a' }),
  'copy to a winding path': one(`${M}.CopyTo`, { name: '.host', source: '/a', destination: '/a/./b' }),
  'copy without a source': one(`${M}.CopyTo`, { name: '.host' }),
  'open by a number': one(`${M}.Open`, { name: '.host', mode: 'shell', user: '0' }),
  'open a relative path': one(`${M}.Open`, { name: '.host', mode: 'tty', path: 'a' }),
  'open with no assignment': one(`${M}.Open`, { name: '.host', mode: 'tty', environment: ['a'] }),
  'open without a mode': one(`${M}.Open`, { name: '.host' }),
  'open nothing': one(`${M}.Open`, { mode: 'tty' }),
  'open a terminal': { ...one(`${M}.Open`, { name: '.host', mode: 'tty' }), replies: 2 },
  "the host's root": { ...one(`${M}.OpenRootDirectory`, { name: '.host' }), replies: 2 },
  'root of nothing': one(`${M}.OpenRootDirectory`, {}),
  'user of another service': user('GetUserRecord', { uid: 70000, service: 'x' }),
  'user of nobody': user('GetUserRecord', { uid: 70000, ...us }),
  'user of the host': user('GetUserRecord', { uid: 0, ...us }),
  'invalid user': user('GetUserRecord', { uid: 65535, ...us }),
  'user as text': user('GetUserRecord', { uid: '70000', ...us }),
  'all users': user('GetUserRecord', us, more),
  'user without a service': user('GetUserRecord', { uid: 70000 }),
  'fuzzy user': user('GetUserRecord', { ...us, fuzzyNames: ['x'] }),
  'user by range': user('GetUserRecord', { ...us, uidMin: 1 }),
  'user without a name': user('GetUserRecord', { ...us, userName: '' }),
  'user with an odd name': user('GetUserRecord', { ...us, userName: 'a b' }),
  'group of nobody': user('GetGroupRecord', { gid: 70000, ...us }),
  'group by name': user('GetGroupRecord', { groupName: 'vg-nope-0', ...us }),
  memberships: user('GetMemberships', us),
  'memberships elsewhere': user('GetMemberships', { service: 'x' }),
  filter: { path: HOOK_SOCKET, messages: [call(`${HOOK}.QueryFilter`, {})] },
  'filter to follow': { path: HOOK_SOCKET, messages: [call(`${HOOK}.QueryFilter`, {}, more)] },
  'resolve nothing': ask(),
  'resolve a stranger': ask({ type: 1, name: 'foo' }),
  'resolve without a question': { path: HOOK_SOCKET, messages: [call(`${HOOK}.ResolveRecord`, {})] },
  'resolve what is none': { path: HOOK_SOCKET, messages: [call(`${HOOK}.ResolveRecord`, { question: [{}] })] }
}

/**
 * What is said of machines, and done with them. `PID` stands for the leader of one, `FULL` for that of another, and `BARE` for
 * that of one that has a network of its own and no os-release(5).
 */
export const registeredVectors: Record<string, Conversation> = {
  'register all there is': one(`${M}.Register`, {
    name: 'full',
    id: '01234567-89AB-cdef-0123-456789abcdef',
    service: 'some "thing"',
    class: 'vm',
    leader: 'FULL',
    leaderProcessId: { pid: 'FULL' },
    supervisor: 1,
    supervisorProcessId: { pid: 1 },
    rootDirectory: '/a b',
    ifIndices: [7, 3],
    vSockCid: 3,
    sshAddress: 'vsock/3',
    sshPrivateKeyPath: '/key',
    controlAddress: '/run/control',
    allocateUnit: false,
    allowInteractiveAuthentication: true
  }),
  register: one(`${M}.Register`, { ...x, leader: 'PID' }),
  'register again': one(`${M}.Register`, { ...x, leader: 'PID' }),
  'register under another name': one(`${M}.Register`, { ...x, name: 'y', leader: 'PID' }),
  'register two leaders': one(`${M}.Register`, { ...x, name: 'y', leader: 'PID', leaderProcessId: { pid: 'FULL' } }),
  'register another inode': one(`${M}.Register`, { ...x, name: 'y', leaderProcessId: { pid: 'PID', pidfdId: 1 } }),
  'register another boot': one(`${M}.Register`, {
    ...x,
    name: 'y',
    leaderProcessId: { pid: 'PID', bootId: '0123456789abcdef0123456789abcdef' }
  }),
  list: one(`${M}.List`, { name: 'x' }),
  'list of all it was told': one(`${M}.List`, { name: 'full' }, more),
  'list by PID': one(`${M}.List`, { pid: { pid: 'PID' } }),
  'list by the PID of another inode': one(`${M}.List`, { pid: { pid: 'PID', pidfdId: 1 } }),
  'list by the PID of another boot': one(`${M}.List`, {
    pid: { pid: 'PID', bootId: '0123456789abcdef0123456789abcdef' }
  }),
  'list by both': one(`${M}.List`, { name: 'x', pid: { pid: 'PID' } }),
  'list of two': one(`${M}.List`, { name: 'full', pid: { pid: 'PID' } }),
  'list with metadata': one(`${M}.List`, { name: 'x', acquireMetadata: 'yes' }),
  'list with what can be had': one(`${M}.List`, { name: 'x', acquireMetadata: 'graceful' }),
  'list of a VM with metadata': one(`${M}.List`, { name: 'full', acquireMetadata: 'yes' }),
  'list of a VM with what can be had': one(`${M}.List`, { name: 'full', acquireMetadata: 'graceful' }),
  'register one without an operating system': one(`${M}.Register`, {
    name: 'bare',
    class: 'container',
    leader: 'BARE'
  }),
  'list of one without an operating system': one(`${M}.List`, { name: 'bare', acquireMetadata: 'yes' }),
  'list of what can be had of it': one(`${M}.List`, { name: 'bare', acquireMetadata: 'graceful' }),
  'unregister it': one(`${M}.Unregister`, { name: 'bare' }),
  'map from': one(`${M}.MapFrom`, { name: 'x', uid: 1, gid: 2 }),
  'map from nothing': one(`${M}.MapFrom`, { name: 'x' }),
  'map from a VM': one(`${M}.MapFrom`, { name: 'full', uid: 1 }),
  'copy from a VM': one(`${M}.CopyFrom`, { name: 'full', source: '/a' }),
  'copy what is not there': one(`${M}.CopyFrom`, { name: 'x', source: '/nope', destination: '/tmp/nope' }),
  'bind in a VM': one(`${M}.BindMount`, { name: 'full', source: '/a' }),
  'bind a winding path': one(`${M}.BindMount`, { name: 'x', source: '/a', destination: '/../b' }),
  "a VM's terminal": one(`${M}.Open`, { name: 'full', mode: 'tty' }),
  'open a login where no bus is': { ...one(`${M}.Open`, { name: 'x', mode: 'login' }), replies: 2 },
  "a VM's root": one(`${M}.OpenRootDirectory`, { name: 'full' }),
  'root directory': { ...one(`${M}.OpenRootDirectory`, { name: 'x' }), replies: 2 },
  'user by name': user('GetUserRecord', { userName: 'vu-x-1000', ...us }),
  'user of a VM': user('GetUserRecord', { userName: 'vu-full-1000', ...us }),
  'user with another UID': user('GetUserRecord', { userName: 'vu-x-1000', uid: 70000, ...us }),
  'group by name': user('GetGroupRecord', { groupName: 'vg-x-1000', ...us }, more),
  filter: { path: HOOK_SOCKET, messages: [call(`${HOOK}.QueryFilter`, {})] },
  'resolve without a network': ask({ type: 1, name: 'x' }),
  'resolve another type': ask({ type: 16, name: 'x' }),
  'resolve all types': ask({ type: 255, name: 'x' }),
  'resolve one and what is below another': ask({ type: 16, name: 'x' }, { type: 1, name: 'sub.full' }),
  'resolve another class': ask({ class: 3, type: 1, name: 'x' }),
  'resolve what is below': ask({ type: 1, name: 'sub.x' }),
  'resolve in capitals': ask({ type: 15, name: 'X' }),
  'kill a process that is not there': one(`${M}.Kill`, { name: 'x', whom: 'supervisor', signal: 'CONT' }),
  kill: one(`${M}.Kill`, { name: 'x', whom: 'leader', signal: 'SIGCONT' }),
  'kill all': one(`${M}.Kill`, { pid: { pid: 'PID' }, signal: 18 }),
  unregister: one(`${M}.Unregister`, { name: 'full' }),
  terminate: one(`${M}.Terminate`, { name: 'x' })
}
