import type { AccessRule } from './access.ts'

/** Mounting is nobody's by right: what is mounted is the host's to walk in. */
export function mountRule(name: string, verb: 'mount' | 'umount'): AccessRule<'mount-machine'> {
  return { action: 'mount-machine', details: { machine: name, verb } }
}
