/** A call that is answered and changes nothing that matters, and where. */
export interface ValidCall {
  readonly path: string
  readonly call: { readonly method: string; readonly parameters: Record<string, never>; readonly more?: boolean }
}

const MACHINE = '/run/systemd/machine/io.systemd.Machine'
const M = 'io.systemd.Machine'
const U = 'io.systemd.UserDatabase'

const CALLS: Readonly<Record<string, readonly (readonly [method: string, parameters: object, more?: true])[]>> = {
  [MACHINE]: [
    ['org.varlink.service.GetInfo', {}],
    ['org.varlink.service.GetInterfaceDescription', { interface: M }],
    ['io.systemd.service.Ping', {}],
    ['io.systemd.service.GetLogLevel', {}],
    ['io.systemd.service.SetLogLevel', { level: 6 }],
    ['io.systemd.service.GetEnvironment', {}],
    [`${M}.List`, { name: '.host', acquireMetadata: 'graceful' }],
    [`${M}.List`, { name: 'x', pid: { pid: 0 } }],
    [`${M}.List`, {}, true],
    [`${M}.List`, { acquireMetadata: 'graceful' }, true],
    [`${M}.Register`, { name: 'x', class: 'vm', leader: 2, ifIndices: [1, 2], vSockCid: 9, id: '0'.repeat(32) }],
    [`${M}.Register`, { name: 'x', class: 'container', leaderProcessId: { pid: 99999999, pidfdId: 1, bootId: '00' } }],
    [`${M}.Unregister`, { name: 'x' }],
    [`${M}.Terminate`, { name: '.host' }],
    [`${M}.Kill`, { name: '.host', whom: 'leader', signal: 'SIGTERM' }],
    [`${M}.MapFrom`, { name: 'x', uid: 1, gid: 1 }],
    [`${M}.MapTo`, { uid: 70000, gid: 70000 }],
    [`${M}.BindMount`, { name: '.host', source: '/a', destination: '/b', readOnly: true, mkdir: true }],
    [`${M}.CopyFrom`, { name: '.host', source: '/a', destination: '/b', replace: true }],
    [`${M}.OpenRootDirectory`, { name: '.host' }]
  ],
  '/run/systemd/userdb/io.systemd.Machine': [
    [`${U}.GetUserRecord`, { uid: 70000, service: M }],
    [`${U}.GetUserRecord`, { userName: 'vu-x-7', service: M }, true],
    [`${U}.GetGroupRecord`, { gid: 70000, groupName: 'vg-x-7', service: M }],
    [`${U}.GetMemberships`, { service: M }, true]
  ],
  '/run/systemd/resolve.hook/io.systemd.Machine': [
    ['io.systemd.Resolve.Hook.QueryFilter', {}],
    ['io.systemd.Resolve.Hook.ResolveRecord', { question: [{ key: { class: 1, type: 1, name: 'x' } }] }]
  ]
}

export const VALID_CALLS: readonly ValidCall[] = Object.entries(CALLS).flatMap(([path, calls]) =>
  calls.map(([method, parameters, more]) => ({
    path,
    call: { method, parameters: parameters as Record<string, never>, ...(more && { more }) }
  }))
)
