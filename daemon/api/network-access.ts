import { MachinedError } from '../base/errors.ts'
import { parseIp } from '../base/prefix.ts'
import { isValidMachineName } from '../machine/machine-name.ts'
import type { Manager } from '../manager.ts'
import { readForward } from '../network/forward-text.ts'
import type { NetworkDescription } from '../network/networks.ts'
import type { AccessRule } from './access.ts'

/*
 * What io.machined.Network does, on either wire. Changing a network is for administrators; anyone may look.
 */

/** What polkit is asked for a change; with the name of the machine where it is about one. */
export function networkRule(verb: string, machine = ''): AccessRule<'manage-machines'> {
  return { action: 'manage-machines', details: { machine, verb } }
}

/** The network, and the files that its configuration was read from, as they count. */
export function describeNetwork({ networks, config }: Manager): NetworkDescription & { files: readonly string[] } {
  return { ...networks.describe(), files: config.files }
}

/** Gives a name addresses, of which "" stands for one that stays. Throws InvalidArgs, and as Networks.setLease does. */
export async function setLease({ networks }: Manager, name: string, ip4: string, ip6: string): Promise<void> {
  await networks.setLease(validName(name), { ip4: readAddress(ip4, 4), ip6: readAddress(ip6, 16) })
}

/** Throws InvalidArgs, and as Networks.addForward does. */
export async function addForward({ networks }: Manager, name: string, listen: string, target: string): Promise<void> {
  await networks.addForward(readForward(validName(name), listen, target))
}

function validName(name: string): string {
  if (!isValidMachineName(name)) throw new MachinedError('InvalidArgs', `Invalid machine name '${name}'`)
  return name
}

function readAddress(text: string, bytes: number): Buffer | undefined {
  if (text === '') return undefined
  const address = parseIp(text)
  if (address?.length === bytes) return address
  throw new MachinedError('InvalidArgs', `Invalid IPv${bytes === 4 ? '4' : '6'} address '${text}'`)
}
