import { readFileSync } from 'node:fs'
import { MachinedError } from '../../base/errors.ts'
import type { BusMessage } from '../../bus/message.ts'
import { emptyAnswer, type Answer } from './answer.ts'

export const peerInterface = 'org.freedesktop.DBus.Peer'

/** Answers a call of the Peer interface, which exists at every path, even where there is no object. Throws UnknownMethod. */
export function answerPeer(message: BusMessage): Answer {
  if (message.member === 'Ping') return emptyAnswer
  if (message.member === 'GetMachineId') {
    return { signature: 's', body: [readFileSync('/etc/machine-id', 'utf8').trim()] }
  }
  throw new MachinedError('UnknownMethod', `Unknown method '${message.member ?? ''}' on interface '${peerInterface}'.`)
}
