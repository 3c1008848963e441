import type { PidRef } from '../linux/process.ts'

/** A machine as networks see it. */
export interface NetworkMember {
  readonly name: string
  readonly class: string
  /** The user who registered it. */
  readonly owner: number
  readonly leader: PidRef | undefined
  readonly interfaces: readonly number[]
}

/**
 * Whether the links that a machine is registered with can be taken for its own: whoever else registers one could point to
 * links that are not theirs.
 */
export function hasLinksToSee(member: NetworkMember): member is NetworkMember & { readonly leader: PidRef } {
  return member.class === 'container' && member.owner === 0 && member.leader !== undefined
}
