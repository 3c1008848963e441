import { isSystemError, MachinedError } from '../../base/errors.ts'
import { bindMount as bindMountIn, requireBindable } from '../../machine/bind-mount.ts'
import { copyFiles, requireCopyable, type CopyDirection } from '../../machine/copy.ts'
import { openRootDirectoryOf } from '../../machine/root-directory.ts'
import type { Manager } from '../../manager.ts'
import { reachInRule } from '../machine-access.ts'
import { readBoolean, readPath } from './fields.ts'
import { boolean, field, integer, needed, optional, string, type MethodRow } from './schema.ts'
import { named, onMachine } from './selector.ts'

interface CopyWords {
  readonly doc: string
  readonly source: string
  readonly destination: string
}

function copying(direction: CopyDirection, { doc, source, destination }: CopyWords): MethodRow<Manager> {
  return onMachine({
    doc,
    in: {
      source: needed(string, `${source} Absolute and normalized.`, readPath),
      destination: optional(string, `${destination} The same path as the source if left out.`, readPath),
      replace: optional(boolean, 'Whether files that exist make way. If not, the call fails on one.', readBoolean)
    },
    out: {},
    actions: ['manage-machines'],
    rule: ({ manager, machine }, paths) => {
      requireCopyable(machine, manager.operations)
      return named(reachInRule(machine, 'copy', { src: paths.source, dest: paths.destination ?? paths.source }))
    },
    run: async ({ manager, machine }, { source: from, destination: to = from, replace = false }) => {
      await withPlainRefusals(copyFiles({ machine, direction, source: from, destination: to, replace }, manager))
      return {}
    }
  })
}

export const copyFrom = copying('from', {
  doc: 'Copies a file or directory out of a container. Answered when all is copied.',
  source: 'What to copy, as seen in the container.',
  destination: 'Where to on this system.'
})

export const copyTo = copying('to', {
  doc: 'Copies a file or directory into a container. Answered when all is copied.',
  source: 'What to copy, on this system.',
  destination: 'Where to, as seen in the container.'
})

const refusals: Readonly<Record<string, 'AccessDenied' | 'NotSupported'>> = {
  EPERM: 'AccessDenied',
  EACCES: 'AccessDenied',
  EOPNOTSUPP: 'NotSupported',
  ENOTSUP: 'NotSupported',
  ENOSYS: 'NotSupported',
  ENOTTY: 'NotSupported'
}

/** That a file may not be touched, or a file system cannot do it, has errors of its own here (spec/varlink-and-clients.md A15). */
async function withPlainRefusals<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    const code = isSystemError(error) ? refusals[error.code] : undefined
    throw code === undefined ? error : new MachinedError(code, (error as Error).message, { cause: error })
  }
}

export const bindMount = onMachine({
  doc: 'Shows a file or directory of this system in a container, too, until the container ends.',
  in: {
    source: needed(string, 'What to show, on this system. Absolute and normalized.', readPath),
    destination: optional(
      string,
      'Where in the container. Absolute and normalized. The same path as the source if left out.',
      readPath
    ),
    readOnly: optional(boolean, 'Whether the container may only read it. False if left out.', readBoolean),
    mkdir: optional(boolean, 'Whether to make the destination first, if it is missing. False if left out.', readBoolean)
  },
  out: {},
  actions: ['manage-machines'],
  rule: ({ machine }, { source, destination = source }) => {
    requireBindable(machine)
    return named(reachInRule(machine, 'bind', { src: source, dest: destination }))
  },
  run: async ({ manager, machine }, { source, destination = source, readOnly = false, mkdir = false }) => {
    await bindMountIn(machine, { source, destination, readOnly, mkdir }, manager.workers)
    return {}
  }
})

export const openRootDirectory = onMachine({
  doc: "Opens a machine's root directory, as its leader sees it.",
  in: {},
  out: { fileDescriptor: field(integer, 'Which of the descriptors of this reply it is.') },
  actions: ['manage-machines'],
  rule: ({ machine }) => named(reachInRule(machine, 'open_root_directory')),
  run: async ({ manager, machine }, _, call) => ({
    fileDescriptor: call.attach(await openRootDirectoryOf(machine, manager.workers))
  })
})
