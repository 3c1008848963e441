import { parseArgs } from 'node:util'
import { version } from './base/version.ts'
import { busIntrospection } from './api/dbus/serve.ts'

const HELP = `machined [OPTIONS...]

Track virtual machines and containers.

  -h --help                 Show this help
     --version              Show the version
     --system               Run as the system's instance (default)
     --user                 Run as the calling user's instance, which exits when idle
     --bus-introspect=WHAT  Print the introspection XML of an object path or interface;
                            "list" prints which there are

See the systemd-machined.service(8) man page for details.
`

/**
 * Reads the switches of spec/dbus.md 1.1 and answers those that only print. Returns as whose instance the daemon is to
 * run, if it is; a switch it does not take ends the process with status 1.
 */
export function readCommandLine(args: string[]): 'system' | 'user' | undefined {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
        system: { type: 'boolean' },
        user: { type: 'boolean' },
        'bus-introspect': { type: 'string' }
      }
    })
    if (values.help === true) process.stdout.write(HELP)
    else if (values.version === true) process.stdout.write(`machined ${version()}\n`)
    else if (positionals.length > 0) throw new Error('This program takes no arguments.')
    else if (values['bus-introspect'] !== undefined) process.stdout.write(busIntrospection(values['bus-introspect']))
    else return values.user === true ? 'user' : 'system'
    return undefined
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  }
}
