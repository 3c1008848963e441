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
