import { checkSignal, kill } from '../../machine/kill.ts'
import { withErrnoOfServiceManager } from '../error-replies.ts'
import { manageRule } from '../machine-access.ts'
import { systemFailure } from './errors.ts'
import { readSignal } from './fields.ts'
import { killWhom } from './machine-types.ts'
import { integer, needed, optional } from './schema.ts'
import { named, onMachine } from './selector.ts'

export const unregister = onMachine({
  doc: 'Forgets a machine. Its processes and its unit go on.',
  in: {},
  out: {},
  actions: ['manage-machines'],
  rule: ({ machine }) => named(manageRule(machine, 'unregister')),
  run: ({ manager, machine }) => {
    manager.machines.unregister(machine)
    return {}
  }
})

export const terminate = onMachine({
  doc: 'Begins to end a machine: stops its unit or, where it shares that with others, asks its supervisor to end it.',
  in: {},
  out: {},
  actions: ['manage-machines'],
  rule: ({ machine }) => named(manageRule(machine, 'terminate')),
  run: async ({ manager, machine }) => {
    await withErrnoOfServiceManager(manager.machines.stop(machine))
    return {}
  }
})

type Whom = Parameters<typeof kill>[2]

export const sendSignal = onMachine({
  doc: 'Sends a signal to processes of a machine.',
  in: {
    whom: optional(killWhom, 'Which processes. All of them if left out.', (value) => value as Whom),
    signal: needed(integer, 'The signal, by number, or by name such as `SIGTERM` or `RTMIN+4`.', readSignal)
  },
  out: {},
  actions: ['manage-machines'],
  rule: ({ machine }) => named(manageRule(machine, 'kill')),
  run: async ({ manager, machine }, { whom = 'all', signal }) => {
    // The host is not ours to end.
    if (machine.class === 'host') throw systemFailure('EOPNOTSUPP')
    checkSignal(signal)
    await withErrnoOfServiceManager(kill(manager.systemd, machine, whom, signal))
    return {}
  }
})
