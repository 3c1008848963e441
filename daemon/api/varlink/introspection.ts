import { VarlinkError } from './errors.ts'
import { readString, strings } from './fields.ts'
import { interfaceText } from './idl.ts'
import { field, integer, maybe, method, needed, string, type InterfaceTable } from './schema.ts'

/** What a server says of itself. */
export interface Identity {
  readonly version: string
  /** All interfaces that it serves. */
  readonly tables: () => readonly InterfaceTable<unknown>[]
}

const VENDOR = 'The systemd Project'
const PRODUCT = 'systemd (systemd-machined)'
const URL = 'https://systemd.io/'
/** The release whose behaviour this is. Clients know the service by that. */
const COMPATIBLE = '262'

/** `io.systemd`: errors that any call may have; there is nothing to call. */
export const systemTable: InterfaceTable<undefined> = {
  name: 'io.systemd',
  doc: 'Errors of any call.',
  types: [],
  methods: {},
  errors: {
    Disconnected: { doc: 'The connection was lost. Made by clients for themselves, never sent.' },
    TimedOut: { doc: 'No reply came in time. Made by clients for themselves, never sent.' },
    Protocol: { doc: 'What came is no Varlink. Made by clients for themselves, never sent.' },
    System: {
      doc: 'The kernel, or the C library, says so.',
      fields: {
        origin: maybe(string, '`linux`: whose numbers these are.'),
        errnoName: maybe(string, 'The name, such as `ENOENT`.'),
        errno: maybe(integer, 'The number, which the name is better than.')
      }
    }
  }
}

const one = (name: string, doc: string) => ({ [name]: field(string, doc) })

/** `org.varlink.service` (spec/varlink-and-clients.md A3). */
export const introspectionTable: InterfaceTable<Identity> = {
  name: 'org.varlink.service',
  doc: 'What every Varlink service can be asked.',
  types: [],
  methods: {
    GetInfo: method({
      doc: 'Tells what serves here.',
      in: {},
      out: {
        vendor: field(string, 'Whose interfaces these are.'),
        product: field(string, 'The service.'),
        version: field(string, 'The release of systemd it behaves like, and in parentheses its own.'),
        url: field(string, 'Where to read on.'),
        interfaces: field(strings, 'What can be called, sorted.')
      },
      access: 'anyone',
      run: ({ version, tables }: Identity) => ({
        vendor: VENDOR,
        product: PRODUCT,
        version: `${COMPATIBLE} (machined ${version})`,
        url: URL,
        interfaces: tables()
          .map(({ name }) => name)
          .sort()
      })
    }),
    GetInterfaceDescription: method({
      doc: 'Describes an interface.',
      in: { interface: needed(string, 'Its name.', readString) },
      out: { description: field(string, "In Varlink's interface definition language, with comments.") },
      access: 'anyone',
      run: ({ tables }: Identity, { interface: wanted }) => {
        const table = tables().find(({ name }) => name === wanted)
        if (table !== undefined) return { description: interfaceText(table) }
        throw new VarlinkError('org.varlink.service.InterfaceNotFound', { interface: wanted })
      }
    })
  },
  errors: {
    InterfaceNotFound: {
      doc: 'There is no such interface to describe.',
      fields: one('interface', 'The interface that was asked for.')
    },
    MethodNotFound: { doc: 'There is no such method.', fields: one('method', 'The method that was called.') },
    MethodNotImplemented: {
      doc: 'The method is known, but not served.',
      fields: one('method', 'The method that was called.')
    },
    InvalidParameter: {
      doc: 'A parameter is missing, of the wrong type, not acceptable, or not known.',
      fields: one('parameter', 'The parameter.')
    },
    PermissionDenied: { doc: 'The caller may not do this.' },
    ExpectedMore: { doc: 'The method has to be called with the more flag.' }
  }
}
