import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { closeFd, inotifyAddWatch, inotifyInit } from './libc.ts'
import { Poll } from './poll.ts'
import { readProcFile } from './proc-file.ts'

const ROOT = '/sys/fs/cgroup'
const CGROUP2_MAGIC = 0x63677270
const IN_MODIFY = 0x2
const LIMIT = 64 * 1024
const UNIT_TYPES = 'service|socket|target|device|mount|automount|swap|timer|path|slice|scope'
const PLAIN_OR_INSTANCE = new RegExp(`^[A-Za-z0-9:_.\\\\-]+(@[A-Za-z0-9:_.\\\\@-]+)?\\.(${UNIT_TYPES})$`)

const HOLDS_USER_UNITS = /^(user@\d+\.service|capsule@.+\.service|session-[A-Za-z0-9]+\.scope)$/

/** The control group of a process as an absolute path below the cgroup root. Throws ESRCH when the process is gone, ENODATA when it is in no group of systemd's. See cgroups(7). */
export function cgroupPath(pid: number): string {
  const file = `/proc/${String(pid)}/cgroup`
  let text: string
  try {
    text = readProcFile(file, LIMIT)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') throw systemError(os.errno.ESRCH, 'open', file)
    throw error
  }
  const inUnified = /^0::(\/.*)$/m.exec(text)
  const named = /^\d+:name=systemd:(\/.*)$/m.exec(text)
  // On a host with version 1 hierarchies, systemd keeps its tree in one without controllers.
  const path = (isUnified() ? inUnified : (named ?? inUnified))?.[1]
  if (path === undefined) throw systemError(os.errno.ENODATA, 'read', file)
  return path.replace(/ \(deleted\)$/, '')
}

/** A unit, and the rest of a cgroup path below the unit's group, '' when directly in it. */
export interface UnitPlace {
  readonly unit: string
  readonly subgroup: string
}

/** The unit of the system that a cgroup path lies in (spec/dbus.md 3.5.6). undefined when the path leads to no unit. */
export function unitOfCgroup(path: string): UnitPlace | undefined {
  const parts = path.split('/').filter((part) => part !== '')
  const start = parts.findIndex((part) => !isSlice(unescapeComponent(part)))
  const first = parts[start]
  if (first === undefined) return undefined
  const unit = unescapeComponent(first)
  return isValidUnitName(unit) ? { unit, subgroup: parts.slice(start + 1).join('/') } : undefined
}

/** The same of the units of a user's own manager, which are below the system's unit for that manager or for a session. */
export function userUnitOfCgroup(path: string): UnitPlace | undefined {
  const outer = unitOfCgroup(path)
  return outer !== undefined && HOLDS_USER_UNITS.test(outer.unit) ? unitOfCgroup(outer.subgroup) : undefined
}

/** Whether no process is left in the group and below it. A group that is gone is empty. */
export function isEmptyCgroup(path: string): boolean {
  // The root group has no event file and always holds PID 1.
  if (path === '' || path === '/') return false
  try {
    return /^populated 0$/m.test(readProcFile(`${ROOT}${path}/cgroup.events`, LIMIT))
  } catch (error) {
    if (isSystemError(error) && (error.code === 'ENOENT' || error.code === 'ENODEV')) return !fs.existsSync(ROOT + path)
    throw error
  }
}

/**
 * Calls `callback` whenever the group becomes empty or populated, frozen or thawed; it must look for itself. Throws
 * ENOENT when there is no such group. The watch ends with `close`, and by itself keeps the program running.
 */
export function watchCgroupEvents(path: string, callback: () => void): { close(): void } {
  const fd = inotifyInit()
  let poll: Poll
  try {
    inotifyAddWatch(fd, `${ROOT}${path}/cgroup.events`, IN_MODIFY)
    poll = new Poll(
      fd,
      () => {
        if (drain(fd)) callback()
      },
      { ownsFd: true }
    )
  } catch (error) {
    closeFd(fd)
    throw error
  }
  poll.start({ readable: true })
  return {
    close: () => {
      poll.close()
    }
  }
}

/** Takes the queued events; what they say does not matter. False if there were none. */
function drain(fd: number): boolean {
  try {
    return fs.readSync(fd, Buffer.allocUnsafe(4096)) > 0
  } catch (error) {
    if (isSystemError(error) && error.code === 'EAGAIN') return false
    throw error
  }
}

/** Whether the name is one of a plain unit or of an instance, not of a template. See systemd.unit(5). */
export function isValidUnitName(name: string): boolean {
  return name.length < 256 && PLAIN_OR_INSTANCE.test(name)
}

/** Makes any text fit for the middle of a unit name, as systemd-escape(1) does (spec/dbus.md 3.5.7). */
export function escapeUnitName(text: string): string {
  let escaped = ''
  for (const [index, byte] of Buffer.from(text, 'utf8').entries()) {
    const char = String.fromCharCode(byte)
    if (char === '/') escaped += '-'
    else if (/[A-Za-z0-9:_.]/.test(char) && !(index === 0 && char === '.')) escaped += char
    else escaped += `\\x${byte.toString(16).padStart(2, '0')}`
  }
  return escaped
}

/** The name of the scope unit made for a machine (spec/dbus.md 3.5.7). */
export function scopeNameForMachine(name: string): string {
  return `machine-${escapeUnitName(name)}.scope`
}

let unified: boolean | undefined

/** Said once and for all when systemd starts. */
function isUnified(): boolean {
  unified ??= fs.existsSync(ROOT) && fs.statfsSync(ROOT).type === CGROUP2_MAGIC
  return unified
}

function isSlice(name: string): boolean {
  return name.endsWith('.slice') && isValidUnitName(name)
}

/** A unit's group carries a leading underscore when its name could be taken for a file of the cgroup file system. */
function unescapeComponent(part: string): string {
  return part.startsWith('_') ? part.slice(1) : part
}
