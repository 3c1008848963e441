import { readProcFile } from './proc-file.ts'

/** One mount of a namespace, see proc_pid_mountinfo(5). */
export interface MountEntry {
  readonly id: number
  /** The numbers of its device, such as `8:1`. */
  readonly device: string
  readonly mountPoint: string
  readonly readOnly: boolean
  /** Its type, such as `ext4`. */
  readonly fileSystem: string
}

/** A hundred thousand mounts, the most that a namespace has unless told otherwise. */
const LIMIT = 64 * 1024 * 1024

/** The mounts that the calling thread sees, those further up at a mount point after those they cover. */
export function readMounts(): MountEntry[] {
  return parseMountInfo(readProcFile('/proc/thread-self/mountinfo', LIMIT))
}

/** Parses the lines of a mountinfo file; one that is malformed is left out. */
export function parseMountInfo(text: string): MountEntry[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ')
    const [id = '', , device = '', , mountPoint, options] = before.split(' ')
    const [fileSystem] = after.split(' ')
    if (mountPoint === undefined || options === undefined || fileSystem === undefined) return []
    const readOnly = options.split(',').includes('ro')
    return [{ id: Number(id), device, mountPoint: unescape(mountPoint), readOnly, fileSystem }]
  })
}

/** The kernel writes blanks, line ends and backslashes as three octal digits. Names are bytes. */
function unescape(path: string): string {
  if (!path.includes('\\')) return path
  return path.replace(/(?:\\[0-7]{3})+/g, (escaped) =>
    Buffer.from(
      escaped
        .split('\\')
        .slice(1)
        .map((digits) => parseInt(digits, 8))
    ).toString('utf8')
  )
}
