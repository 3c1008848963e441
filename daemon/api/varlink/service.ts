import { getLevelNumber, setLevelNumber } from '../../base/log.ts'
import { VarlinkError } from './errors.ts'
import { readUnsigned, strings } from './fields.ts'
import { field, integer, maybe, method, needed, type InterfaceTable } from './schema.ts'
import type { Call } from './call.ts'
import { interactiveAuthentication } from './fields.ts'
import { methodNotFound } from './errors.ts'

const LEAST_IMPORTANT = 7n
const level = 'A priority of syslog(3), 0 to 7: messages down to this one are logged.'

/** What tells of the process, or changes it, is for root and for whom the daemon runs as. Told with the call's parameters, as the stock daemon does. */
function requireOwner(call: Call): void {
  const uid = call.uid()
  if (uid === 0 || uid === process.geteuid?.()) return
  throw new VarlinkError('org.varlink.service.PermissionDenied', call.request.parameters)
}

/** `io.systemd.service` (spec/varlink-and-clients.md A4). */
export const serviceTable: InterfaceTable<undefined> = {
  name: 'io.systemd.service',
  doc: 'What every service of systemd can be asked.',
  types: [],
  methods: {
    Ping: method({ doc: 'Shows that the service answers.', in: {}, out: {}, access: 'anyone', run: () => ({}) }),
    Reload: method({
      doc: 'Reads the configuration anew. There is none here, so this is not served.',
      in: { allowInteractiveAuthentication: interactiveAuthentication },
      out: {},
      access: 'anyone',
      run: () => {
        throw methodNotFound('io.systemd.service.Reload')
      }
    }),
    SetLogLevel: method({
      doc: 'Sets how much is logged. For root.',
      in: {
        level: { ...needed(integer, level, (value) => Number(readUnsigned(value, LEAST_IMPORTANT))), optional: true }
      },
      out: {},
      access: 'anyone',
      run: (_: undefined, given, call) => {
        requireOwner(call)
        setLevelNumber(given.level)
        return {}
      }
    }),
    GetLogLevel: method({
      doc: 'Tells how much is logged.',
      in: {},
      out: { level: field(integer, level) },
      access: 'anyone',
      run: () => ({ level: getLevelNumber() })
    }),
    GetEnvironment: method({
      doc: 'Tells the environment variables of the service. For root.',
      in: {},
      out: { environment: maybe(strings, 'Assignments, such as `LANG=C.UTF-8`.') },
      access: 'anyone',
      run: (_: undefined, _values, call) => {
        requireOwner(call)
        return { environment: environment() }
      }
    })
  },
  errors: { InconsistentEnvironment: { doc: 'The environment holds something that is no assignment in UTF-8.' } }
}

/** Node decodes each variable; what was no UTF-8 holds the replacement character then. */
function environment(): string[] {
  const assignments = Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ''}`)
  const isGood = assignments.every((text) => /^[A-Za-z_][A-Za-z0-9_]*=/.test(text) && !text.includes('\ufffd'))
  if (!isGood) throw new VarlinkError('io.systemd.service.InconsistentEnvironment')
  return assignments
}
