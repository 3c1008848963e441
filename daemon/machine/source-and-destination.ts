import { MachinedError } from '../base/errors.ts'

/**
 * The two paths of a call that brings files into a machine or out of it; no destination means the same path. Throws InvalidArgs
 * unless both are absolute and normalized (spec/dbus.md 7.8).
 */
export function sourceAndDestination(source: string, destination: string): { source: string; destination: string } {
  requireNormalized('Source', source)
  const target = destination === '' ? source : destination
  requireNormalized('Destination', target)
  return { source, destination: target }
}

function requireNormalized(what: string, path: string): void {
  if (path.startsWith('/') && !/\/\/|\/\.\.?(?:\/|$)/.test(path)) return
  throw new MachinedError('InvalidArgs', `${what} path must be absolute and normalized.`)
}
