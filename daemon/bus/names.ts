import { ProtocolError } from './signature.ts'

const interfacePattern = /^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+$/
const memberPattern = /^[A-Za-z_][A-Za-z0-9_]*$/
const wellKnownPattern = /^[A-Za-z_-][A-Za-z0-9_-]*(?:\.[A-Za-z_-][A-Za-z0-9_-]*)+$/
const uniquePattern = /^:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+$/

/** The most characters an interface, member, error or bus name may have. */
const maxNameLength = 255

/** Whether `path` is an object path (D-Bus specification, "Valid Object Paths"). Paths have no length limit. */
export function isValidObjectPath(path: string): boolean {
  // A loop and not a pattern: a hostile path of 64 MiB would exhaust the backtracking stack of a regular expression.
  const { length } = path
  if (path.charCodeAt(0) !== 0x2f) return false
  if (length === 1) return true
  let afterSlash = true
  for (let index = 1; index < length; index++) {
    const code = path.charCodeAt(index)
    if (code === 0x2f) {
      if (afterSlash) return false
      afterSlash = true
    } else {
      const lower = code | 0x20
      if (!((lower >= 0x61 && lower <= 0x7a && code >= 0x41) || (code >= 0x30 && code <= 0x39) || code === 0x5f))
        return false
      afterSlash = false
    }
  }
  return !afterSlash
}

/** Whether `name` is an interface name (D-Bus specification, "Valid Names"). */
export function isValidInterface(name: string): boolean {
  return name.length <= maxNameLength && interfacePattern.test(name)
}

/** Whether `name` is the name of an error; the rules are those of interfaces. */
export function isValidErrorName(name: string): boolean {
  return isValidInterface(name)
}

/** Whether `name` is the name of a method or signal. */
export function isValidMember(name: string): boolean {
  return name.length <= maxNameLength && memberPattern.test(name)
}

/** Whether `name` is a bus name, unique (`:1.42`) or well-known. */
export function isValidBusName(name: string): boolean {
  return name.length <= maxNameLength && (name.charCodeAt(0) === 0x3a ? uniquePattern : wellKnownPattern).test(name)
}

/** The checks of the header fields that hold names, by field. */
export const nameChecks = {
  path: isValidObjectPath,
  interface: isValidInterface,
  member: isValidMember,
  errorName: isValidErrorName,
  destination: isValidBusName,
  sender: isValidBusName
} as const

/** Returns `name` if it is valid for its header field. Throws ProtocolError if not. */
export function checkName(field: keyof typeof nameChecks, name: string): string {
  if (!nameChecks[field](name)) throw new ProtocolError(`invalid ${field} in a message header`)
  return name
}
