import { integers } from './fields.ts'
import { enumeration, field, integer, maybe, structure } from './schema.ts'

export const machineClass = enumeration('MachineClass', 'What kind of machine it is.', {
  container: 'A container, which shares the kernel with this system.',
  vm: 'A virtual machine.',
  host: 'This system itself; nothing can be registered as that.'
})

export const killWhom = enumeration('KillWhom', 'Which processes of a machine a signal goes to.', {
  leader: "The leader alone, such as a container's PID 1.",
  supervisor: 'The process that registered the machine and looks after it.',
  all: 'All processes of the machine.'
})

export const acquireMetadata = enumeration('AcquireMetadata', 'Whether to gather what takes a look into the thing.', {
  no: 'Tell only what is known anyway.',
  yes: 'Gather it, and fail where any of it cannot be had.',
  graceful: 'Gather what can be had, and leave the rest out.'
})

export const openMode = enumeration('MachineOpenMode', 'What is started at the other end of a terminal.', {
  tty: 'Nothing: the caller has the terminal for itself.',
  login: 'A login prompt of the machine.',
  shell: 'A program or shell, run as some user of the machine.'
})

export const timestamp = structure('Timestamp', 'A point in time on two clocks.', {
  realtime: maybe(integer, 'Microseconds since 1970 by the wall clock.'),
  monotonic: maybe(integer, 'Microseconds since boot, without times of suspension.')
})

export const address = structure('Address', 'An IP address of a machine.', {
  ifindex: maybe(integer, 'The network interface that has it, by its index inside the machine.'),
  family: field(integer, '2 for IPv4, 10 for IPv6.'),
  address: field(integers, 'Its bytes, 4 or 16, in network order.')
})
