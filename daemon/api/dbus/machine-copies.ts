import { type CopyDirection, copyFiles, parseCopyFlags, requireCopyable } from '../../machine/copy.ts'
import { sourceAndDestination } from '../../machine/source-and-destination.ts'
import { reachInRule, type MachineTarget } from '../machine-access.ts'
import { method, type MethodRow } from './table.ts'

interface CopyArgs {
  readonly source: string
  readonly destination: string
  readonly flags?: bigint
}

const paths = { source: 's', destination: 's' } as const
const pathsAndFlags = { ...paths, flags: 't' } as const

/** Checks in the order of the stock daemon (spec/dbus.md 7.9). */
function readCopy(
  { manager, machine }: MachineTarget,
  { source, destination, flags }: CopyArgs
): { source: string; destination: string; replace: boolean } {
  requireCopyable(machine, manager.operations)
  const { replace } = parseCopyFlags(flags ?? 0n)
  return { replace, ...sourceAndDestination(source, destination) }
}

function copying(direction: CopyDirection, shape: typeof paths): MethodRow<MachineTarget> {
  return method({
    in: shape,
    out: {},
    access: {
      actions: ['manage-machines'],
      rule: (target: MachineTarget, args: CopyArgs) => {
        const { source, destination } = readCopy(target, args)
        return reachInRule(target.machine, 'copy', { src: source, dest: destination })
      }
    },
    run: async (target: MachineTarget, args: CopyArgs) => {
      const { machine, manager } = target
      await copyFiles({ machine, direction, ...readCopy(target, args) }, manager)
      return []
    }
  })
}

export const copyFrom = copying('from', paths)
export const copyTo = copying('to', paths)
export const copyFromWithFlags = copying('from', pathsAndFlags)
export const copyToWithFlags = copying('to', pathsAndFlags)
