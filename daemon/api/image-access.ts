import type { Image } from '../image/image.ts'
import type { AccessRule } from './access.ts'

/** Changing an image is for whom polkit lets; images have no owners (spec/dbus.md 8.6). */
export function changeImageRule(
  { name }: Image,
  verb: string,
  details: Readonly<Record<string, string>> = {}
): AccessRule<'manage-images'> {
  return { action: 'manage-images', details: { image: name, verb, ...details } }
}

/** Limits are asked for under the key of machines, as rules may match on it (spec/dbus.md 13, row 15). */
export function limitImageRule({ name }: Image): AccessRule<'manage-images'> {
  return { action: 'manage-images', details: { machine: name, verb: 'set_limit' } }
}

/** Acting on the pool is guarded like acting on machines (spec/dbus.md 13, row 22). */
export function poolRule(verb: string, details: Readonly<Record<string, string>> = {}): AccessRule<'manage-machines'> {
  return { action: 'manage-machines', details: { verb, ...details } }
}
