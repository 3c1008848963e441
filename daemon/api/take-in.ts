import { explain, MachinedError } from '../base/errors.ts'
import { ownsProcess, type PidRef } from '../linux/process.ts'
import { claimName } from '../machine/claim-name.ts'
import { Machine, type Registration } from '../machine/machine.ts'
import type { Instance } from '../instance.ts'
import type { Manager } from '../manager.ts'
import type { Caller, Grant } from './access.ts'

/** How a machine gets into the registry: with a unit it has, or in a new scope. */
export type Track = (machine: Machine) => Promise<void> | void

/**
 * Enters a machine whose registration was read and authorized (spec/dbus.md 3.5). Gives the machine that has the name
 * with this very leader already, if there is one, else the new one. What comes to nothing is closed. Throws
 * AccessDenied for another's process, and what `track` throws.
 */
export async function takeIn(
  manager: Manager,
  registration: Registration,
  grant: Grant,
  track: Track
): Promise<{ machine: Machine; known: boolean }> {
  const { instance, machines } = manager
  try {
    const leader = registration.leader as PidRef
    requireOwnUser(instance, registration.owner)
    requireOwnership(leader, registration.owner, grant)
    const known = await claimName(machines, registration.name, leader)
    if (known !== undefined) {
      closeRegistration(registration)
      return { machine: known, known: true }
    }
    const machine = new Machine(registration)
    await track(machine)
    // Before the reply: who starts a machine waits for that, so it finds its network when it begins to run.
    await manager.joinNetwork(machine)
    return { machine, known: false }
  } catch (error) {
    if (machines.find(registration.name)?.registration !== registration) closeRegistration(registration)
    throw error
  }
}

/** A user's machines are that user's alone, even root has its own place for machines (spec/dbus.md 3.5.4). */
function requireOwnUser({ user }: Instance, uid: number): void {
  if (user === undefined || user === uid) return
  throw new MachinedError('AccessDenied', 'Other users may not register machines with us, sorry.')
}

/** spec/dbus.md 3.5.4 */
function requireOwnership(leader: PidRef, uid: number, grant: Grant): void {
  if (uid === 0 || grant.admin || ownsProcess(leader, uid)) return
  throw new MachinedError('AccessDenied', 'Only privileged users may register machines for other users')
}

/** Nobody is asked for a password to be told that the name is taken by a machine that lives. */
export async function refuseTakenName({ machines }: Manager, { name, leader }: Registration): Promise<void> {
  const holder = machines.find(name)
  if (holder === undefined || (leader !== undefined && holder.registration.leader?.equals(leader) === true)) return
  if (await machines.isGoingDown(holder)) return
  throw new MachinedError('MachineExists', `Machine '${name}' already exists`)
}

/** Who is behind a registration: the caller is leader where none was named, and supervisor where it is another process. */
export async function identifyProcesses(
  named: PidRef | undefined,
  caller: Caller
): Promise<Pick<Registration, 'owner' | 'leader' | 'supervisor'> & { readonly leader: PidRef }> {
  const { sender, owner } = await identify(caller).catch((error: unknown) => {
    named?.close()
    throw explain('Failed to pin client process', error)
  })
  const leader = named ?? sender
  const supervisor = named === undefined || named.equals(sender) ? undefined : sender
  if (named !== undefined && supervisor === undefined) sender.close()
  return { owner, leader, supervisor }
}

/** The process that called and its user; the broker is asked once for both. */
async function identify(caller: Caller): Promise<{ sender: PidRef; owner: number }> {
  const sender = await caller.pin()
  try {
    return { sender, owner: await caller.uid() }
  } catch (error) {
    sender.close()
    throw error
  }
}

/** Closes what a registration that comes to nothing has pinned. */
export function closeRegistration(registration: Pick<Registration, 'leader' | 'supervisor'>): void {
  registration.leader?.close()
  registration.supervisor?.close()
}
