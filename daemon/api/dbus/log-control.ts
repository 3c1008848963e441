import { MachinedError } from '../../base/errors.ts'
import { getLevel, setLevel } from '../../base/log.ts'
import type { InterfaceTable } from './table.ts'

/** Where messages can go, by systemd's names. */
const targets: ReadonlySet<unknown> = new Set([
  'auto',
  'console',
  'console-prefixed',
  'journal',
  'journal-or-kmsg',
  'kmsg',
  'null',
  'syslog',
  'syslog-or-kmsg'
])

/** What `org.freedesktop.LogControl1` shows that the log itself does not know. */
export interface LogControl {
  readonly identifier: string
  /** Accepted and remembered for `systemctl service-log-target`; messages go where the service was started to log. */
  target: string
}

/** org.freedesktop.LogControl1(5): level and target of the log, for root to change while the daemon runs. */
export const logControlTable: InterfaceTable<LogControl> = {
  name: 'org.freedesktop.LogControl1',
  methods: {},
  properties: {
    LogLevel: {
      type: 's',
      emits: 'false',
      get: () => getLevel(),
      write: (_, value) => {
        setLevel(String(value))
      }
    },
    LogTarget: {
      type: 's',
      emits: 'false',
      get: (control) => control.target,
      write: (control, value) => {
        if (!targets.has(value)) throw new MachinedError('InvalidArgs', `Invalid log target '${String(value)}'`)
        control.target = String(value)
      }
    },
    SyslogIdentifier: { type: 's', emits: 'false', get: (control) => control.identifier }
  },
  signals: {}
}
