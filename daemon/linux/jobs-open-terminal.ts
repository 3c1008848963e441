import { closeFd } from './libc.ts'
import type { Place } from './namespace-jobs.ts'
import { openat2 } from './openat2.ts'
import { openPeer, openPty, requireMultiplexer, type Pty } from './pty.ts'
import type { Identity } from './thread-identity.ts'

const O_PATH = 0x200000

/** A pseudo-terminal of a machine, with its other side when that was asked for. */
export interface OpenedTerminal extends Pty {
  readonly peer: number | undefined
}

/**
 * Makes a pseudo-terminal in the machine's devpts that belongs to `owner`. Only what is a multiplexer is opened: no FIFO,
 * no other device. Throws ENODEV for those.
 */
export function openTerminal(place: Place, { owner, peer }: { owner: Identity; peer: boolean }): OpenedTerminal {
  const multiplexer = openat2(place.rootFd, 'dev/ptmx', O_PATH)
  try {
    requireMultiplexer(multiplexer)
    // Not a link into the machine: the host's /proc leads to what was looked at.
    const path = `/proc/thread-self/fd/${String(multiplexer)}`
    const pty = place.as(owner, () => openPty(path))
    place.give(pty.fd)
    return { ...pty, peer: peer ? place.give(openPeer(pty.fd)) : undefined }
  } finally {
    closeFd(multiplexer)
  }
}
