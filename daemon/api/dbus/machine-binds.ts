import { bindMount as bindMountIn, requireBindable } from '../../machine/bind-mount.ts'
import { sourceAndDestination } from '../../machine/source-and-destination.ts'
import { reachInRule, type MachineTarget } from '../machine-access.ts'
import { method } from './table.ts'

interface Paths {
  readonly source: string
  readonly destination: string
}

/** Checks in the order of the stock daemon (spec/dbus.md 7.8). */
function readPaths({ machine }: MachineTarget, { source, destination }: Paths): Paths {
  requireBindable(machine)
  return sourceAndDestination(source, destination)
}

export const bindMount = method({
  in: { source: 's', destination: 's', read_only: 'b', mkdir: 'b' },
  out: {},
  access: {
    actions: ['manage-machines'],
    rule: (target: MachineTarget, args: Paths) => {
      const { source, destination } = readPaths(target, args)
      return reachInRule(target.machine, 'bind', { src: source, dest: destination })
    }
  },
  run: async (target: MachineTarget, args) => {
    const { machine, manager } = target
    const bind = { ...readPaths(target, args), readOnly: args.read_only, mkdir: args.mkdir }
    await bindMountIn(machine, bind, manager.workers)
    return []
  }
})
