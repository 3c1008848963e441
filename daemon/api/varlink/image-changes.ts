import type { OperationKind } from '../../base/operations.ts'
import { type Image, UNKNOWN_SIZE } from '../../image/image.ts'
import type { Manager } from '../../manager.ts'
import { changeImageRule } from '../image-access.ts'
import { interactiveAuthentication, readBoolean, readImageName, readSize } from './fields.ts'
import { boolean, integer, method, needed, optional, string, type MethodRow } from './schema.ts'
import type { Parameters, ValuesOf } from './schema.ts'

const selector = {
  name: needed(string, 'The name of the image.', readImageName),
  allowInteractiveAuthentication: interactiveAuthentication
}

/** A method that changes one image. */
interface ChangeRow<P extends Parameters> {
  readonly doc: string
  readonly in: P
  readonly verb: string
  /** What it is under way as, if it goes on in the background. */
  readonly kind?: OperationKind
  readonly details?: (values: ValuesOf<P>) => Readonly<Record<string, string>>
  readonly run: (manager: Manager, image: Image, values: ValuesOf<P>) => Promise<void>
}

function change<const P extends Parameters>({
  doc,
  in: own,
  verb,
  kind,
  details,
  run
}: ChangeRow<P>): MethodRow<Manager> {
  type Given = ValuesOf<P> & { readonly name: string }
  return method({
    doc,
    in: { ...selector, ...own },
    out: {},
    access: {
      actions: ['manage-images'],
      rule: async (manager: Manager, values: unknown) => {
        if (kind !== undefined) manager.imageChanges.requirePlace(kind)
        const image = await manager.images.get((values as Given).name)
        return changeImageRule(image, verb, details?.(values as Given))
      }
    },
    run: async (manager, values: unknown) => {
      await run(manager, await manager.images.get((values as Given).name), values as Given)
      return {}
    }
  })
}

/** `io.systemd.MachineImage.Update` (spec/varlink-and-clients.md A16). */
export const updateImage = change({
  doc: 'Renames an image, makes it read-only or writable, and limits it: what is left out stays as it is.',
  in: {
    newName: optional(string, 'The name it is to have.', readImageName),
    readOnly: optional(boolean, 'Whether it is to be read only.', readBoolean),
    limit: optional(integer, 'The bytes it may take at most.', readSize)
  },
  verb: 'update',
  run: async ({ images, imageChanges }, image, { newName, readOnly, limit = UNKNOWN_SIZE }) => {
    if (newName !== undefined) await imageChanges.rename(image, newName)
    const current = newName === undefined ? image : await images.get(newName)
    // Neither of the two keeps the other from being done; the first failure is told.
    const outcomes = [
      ...(readOnly === undefined ? [] : await Promise.allSettled([imageChanges.setReadOnly(current, readOnly)])),
      ...(limit === UNKNOWN_SIZE ? [] : await Promise.allSettled([imageChanges.setLimit(current, limit)]))
    ]
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }
})

export const cloneImage = change({
  doc: 'Makes a copy of an image. Answered when all is copied.',
  in: {
    newName: needed(string, 'The name of the copy.', readImageName),
    readOnly: optional(boolean, 'Whether the copy is to be read only. False if left out.', readBoolean)
  },
  verb: 'clone',
  kind: 'clone',
  details: ({ newName }) => ({ new_name: newName }),
  run: ({ imageChanges }, image, { newName, readOnly = false }) => imageChanges.clone(image, newName, readOnly)
})

export const removeImage = change({
  doc: 'Removes an image. Answered when it is gone.',
  in: {},
  verb: 'remove',
  kind: 'remove',
  run: ({ imageChanges }, image) => imageChanges.remove(image)
})
