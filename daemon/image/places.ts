import { join } from 'node:path'

/** Where a manager finds images (spec/dbus.md 8.1). */
export interface ImagePlaces {
  readonly scope: 'system' | 'user'
  /** A name found in one hides the same name in those that follow. */
  readonly search: readonly string[]
  /** Where images are made. */
  readonly pool: string
  /** Where systemd-nspawn and we keep locks (spec/dbus.md 8.7); a user without a runtime directory has no such place. */
  readonly locks: string | undefined
  /** Where settings of images are, apart from those beside an image (spec/dbus.md 8.8). */
  readonly settings: readonly string[]
  /** Where it is said which images are started at boot, and how. */
  readonly units: readonly string[]
}

const SYSTEM_POOL = '/var/lib/machines'

/** The places of the system's manager. */
export const systemPlaces: ImagePlaces = {
  scope: 'system',
  search: [
    '/etc/machines',
    '/run/machines',
    SYSTEM_POOL,
    '/var/lib/container',
    '/usr/local/lib/machines',
    '/usr/lib/machines'
  ],
  pool: SYSTEM_POOL,
  locks: '/run/systemd/nspawn/locks',
  settings: ['/etc/systemd/nspawn', '/run/systemd/nspawn', '/usr/lib/systemd/nspawn'],
  units: ['/etc/systemd/system']
}

/** The places of a user's manager, from its environment; paths there that are not absolute do not count. */
export function userPlaces(home: string, environment: Readonly<Record<string, string | undefined>>): ImagePlaces {
  const absolute = (name: string): string | undefined => {
    const path = environment[name]
    return path?.startsWith('/') === true ? path : undefined
  }
  const runtime = absolute('XDG_RUNTIME_DIR')
  const pool = join(absolute('XDG_STATE_HOME') ?? join(home, '.local/state'), 'machines')
  const ofRuntime = (name: string): string[] => (runtime === undefined ? [] : [join(runtime, name)])
  const configuration = join(absolute('XDG_CONFIG_HOME') ?? join(home, '.config'), 'systemd')
  return {
    scope: 'user',
    search: [...ofRuntime('machines'), pool, join(home, '.local/lib/machines')],
    pool,
    locks: ofRuntime('systemd/nspawn/locks')[0],
    settings: [join(configuration, 'nspawn'), ...ofRuntime('systemd/nspawn'), join(home, '.local/lib/systemd/nspawn')],
    units: [join(configuration, 'user')]
  }
}
