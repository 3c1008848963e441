const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?$/

/** Whether `name` can name a machine: a host name of at most 64 bytes (spec/dbus.md 3.2). */
export function isValidMachineName(name: string): boolean {
  return name.length <= 64 && name.split('.').every((label) => LABEL.test(label))
}
