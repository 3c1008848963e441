import { ExplainedError, isSystemError, strerrorCode } from '../base/errors.ts'
import { LimitedWork } from '../base/limited-work.ts'
import { SharedWorks } from '../base/shared-work.ts'
import { type CommandResult, followCommand, type FollowedCommand } from '../linux/command.ts'
import type { SystemIdentity } from '../linux/system-identity.ts'

/*
 * Metadata of disk images. Which partitions and file systems make one up, with verity and signatures, is for the host's own
 * `systemd-dissect` to say, which attaches the image to a loop device, mounts it in a namespace of its own and prints, since
 * systemd 251, what we want as JSON. Before 254 it knows no `--image-policy`: there it runs without.
 */

const PROGRAM = 'systemd-dissect'
const DEADLINE_MS = 60_000
/** What it prints comes from the image; nothing in there needs more. */
const OUTPUT_LIMIT = 8 * 1024 * 1024
/** Each has a loop device and a mount. */
const MOST_AT_ONCE = 4
/** One that takes longer, as an image may where nothing answers, makes room for another; so many may be at that. */
const SLOW_MS = 3000
const MOST_SLOW = 32

/** What containers are started from, which is all but swap (systemd.image-policy(7)). */
const POLICY = [
  ...['root', 'usr'].map((name) => `${name}=verity+signed+encrypted+unprotected+absent`),
  ...['home', 'srv', 'tmp', 'var'].map((name) => `${name}=encrypted+unprotected+absent`),
  ...['esp', 'xbootldr'].map((name) => `${name}=unprotected+absent`)
].join(':')

/** The errnos that some of its complaints stand for; others end with the text of one. */
const complaints: readonly (readonly [text: string, code: string])[] = [
  ["Couldn't identify a suitable partition table or file system", 'ENOPKG'],
  ['No root partition discovered', 'ENXIO'],
  ['Multiple suitable root partitions found', 'ENOTUNIQ'],
  // The program does not even ask for a key; who does is told that there is none.
  ['OS image is encrypted', 'ENOKEY']
]

/** Reads disk images, a few at a time and each by one program only. */
export class Dissector {
  readonly #work = new LimitedWork({ most: MOST_AT_ONCE, slowMs: SLOW_MS, mostSlow: MOST_SLOW })
  readonly #reads = new SharedWorks<CommandResult>()
  #knowsPolicy = true

  /**
   * What the system in a disk image says of itself. Throws EOPNOTSUPP on a host without the program, ENOPKG for what is no
   * disk image, ENXIO for one without a root, ENOMEDIUM for one without os-release(5), ETIMEDOUT, EBUSY while too many hang,
   * and whatever else stopped it.
   */
  async read(path: string): Promise<SystemIdentity> {
    try {
      return identityOf(await this.#reads.run(path, () => this.#run(path)))
    } catch (error) {
      throw isSystemError(error) && error.code === 'ENOENT' ? failure('EOPNOTSUPP') : error
    }
  }

  async #run(path: string): Promise<CommandResult> {
    const policy = this.#knowsPolicy ? [`--image-policy=${POLICY}`] : []
    const start = (): FollowedCommand =>
      followCommand(PROGRAM, ['--json=short', ...policy, '--', path], { deadlineMs: DEADLINE_MS, limit: OUTPUT_LIMIT })
    const result = await this.#work.do(start)
    if (result.exitCode === 0 || !this.#knowsPolicy || !result.stderr.includes('unrecognized option')) return result
    this.#knowsPolicy = false
    return this.#run(path)
  }
}

function identityOf({ exitCode, stdout, stderr }: CommandResult): SystemIdentity {
  const complaint = complaintIn(stderr)
  if (exitCode !== 0) throw failure(complaint ?? 'EIO')
  const fields = fieldsOf(stdout)
  const osRelease = pairsOf(fields['osRelease'])
  // Where it could read nothing it says why, at best, and goes on.
  if (osRelease.length === 0) throw failure(complaint ?? 'ENOMEDIUM')
  return {
    hostname: textOf(fields['hostname']),
    machineId: textOf(fields['machineId']),
    machineInfo: pairsOf(fields['machineInfo']),
    osRelease
  }
}

function complaintIn(stderr: string): string | undefined {
  for (const [text, code] of complaints) if (stderr.includes(text)) return code
  const last = stderr.trimEnd().split('\n').at(-1) ?? ''
  return strerrorCode(last.slice(last.lastIndexOf(': ') + 2).replace(/\.$/, ''))
}

function fieldsOf(json: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(json)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Said below.
  }
  throw failure('EBADMSG')
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function pairsOf(value: unknown): [string, string][] {
  if (!Array.isArray(value)) return []
  return value.map((item) => {
    const text = textOf(item)
    const at = text.indexOf('=')
    return [text.slice(0, Math.max(at, 0)), text.slice(at + 1)]
  })
}

function failure(code: string): ExplainedError {
  return new ExplainedError('Failed to read image metadata', { code, syscall: PROGRAM })
}
