import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'

/** The Debian releases a test host can run; they bring systemd 252, 257 and the newest. */
export type RootName = 'debian12' | 'debian13' | 'testing'

/** A root file system on disk that hosts use read-only. */
export interface Root {
  /** Absolute path of the directory. */
  path: string
  /** Where `node` is inside the root, fit to run the daemon. */
  node: string
}

interface Recipe {
  suite: string
  packages: readonly string[]
  /** Copies this machine's node in, for roots whose own package is too old or may be anything. */
  copyNode: boolean
  /** Commands run with the root as `$1` once its packages are in. */
  customize?: readonly string[]
}

const MIRROR = 'http://deb.debian.org/debian'

const HOST_PACKAGES = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'polkitd',
  'libpam-systemd',
  'systemd-container',
  'libnss-mymachines',
  'iproute2',
  'iputils-ping',
  'nftables',
  'procps',
  'python3-minimal',
  // What images of machines are made with.
  'btrfs-progs',
  'e2fsprogs',
  'fdisk',
  'squashfs-tools'
]

const RECIPES: Readonly<Record<RootName, Recipe>> = {
  debian12: { suite: 'bookworm', packages: [...HOST_PACKAGES, 'libstdc++6'], copyNode: true },
  debian13: {
    suite: 'trixie',
    packages: [...HOST_PACKAGES, 'nodejs', 'make', 'firewalld', 'ufw', 'network-manager', 'dbus-user-session'],
    copyNode: false,
    // For tests to start.
    customize: [
      'systemctl --root="$1" disable firewalld.service ufw.service NetworkManager.service NetworkManager-wait-online.service'
    ]
  },
  testing: {
    suite: 'testing',
    packages: [
      ...HOST_PACKAGES,
      'libstdc++6',
      // Beside our own, for a test of newer versions.
      'nodejs',
      // For virtual machines of systemd-vmspawn.
      'qemu-system-x86',
      'dbus-broker',
      'dbus-user-session',
      'libnss-systemd',
      'systemd-userdbd',
      'systemd-resolved'
    ],
    copyNode: true,
    // The package makes itself the bus of the system; here that is for TestHost.start() to say.
    customize: ['systemctl --root="$1" disable dbus-broker.service']
  }
}

const GUEST: Recipe = { suite: 'trixie', packages: ['systemd', 'systemd-sysv', 'dbus'], copyNode: false }

const DAY_MS = 24 * 60 * 60 * 1000

/** The directory roots are kept in: $MACHINED_TEST_CACHE or /var/cache/machined-test. Made when it is missing. */
export function cacheDirectory(): string {
  const path = process.env['MACHINED_TEST_CACHE'] ?? '/var/cache/machined-test'
  mkdirSync(path, { recursive: true })
  return path
}

/** The project's top directory, found upwards from this file, whether it runs as test/host/*.ts or dist/test/host/*.js. */
export function projectDirectory(): string {
  let path = import.meta.dirname
  while (!existsSync(join(path, 'package.json')) || path.endsWith('/dist')) {
    const parent = join(path, '..')
    if (parent === path) throw new Error(`No package.json above ${import.meta.dirname}`)
    path = parent
  }
  return path
}

/** Gives the root of a release; builds it first (needs the network and about 20 s) when the cache has none. */
export async function hostRoot(name: RootName): Promise<Root> {
  const recipe = RECIPES[name]
  return { path: await build(recipe), node: recipe.copyNode ? '/usr/local/bin/node' : '/usr/bin/node' }
}

/** Gives the path of the root that containers boot; builds it first when the cache has none. */
export async function guestRoot(): Promise<string> {
  return build(GUEST)
}

/**
 * Installs this project with `make install` into a directory of its own, to be laid over a root. Done once for each state of
 * the sources; throws when there is no such target or it fails.
 */
export async function installedProject(root: Root): Promise<string> {
  const project = projectDirectory()
  const hash = createHash('sha256').update(root.node)
  for (const name of [
    'Makefile',
    'package.json',
    'package-lock.json',
    'daemon',
    'cli',
    'units',
    'dbus-policy',
    'scripts'
  ]) {
    addToHash(hash, join(project, name))
  }
  const cache = cacheDirectory()
  const target = join(cache, `installed-${hash.digest('hex').slice(0, 16)}`)
  const script = `
    test -d "$1" && exit
    rm -rf "$1.new" && mkdir "$1.new" && chmod 755 "$1.new"
    make -C "$2" install DESTDIR="$1.new" PREFIX=/usr/local NODE="$3" >&2
    mv "$1.new" "$1"`
  await locked(join(cache, 'installed.lock'), script, [target, project, root.node])
  for (const name of readdirSync(cache)) {
    const path = join(cache, name)
    const isOld = name.startsWith('installed-') && path !== target && Date.now() - statSync(path).mtimeMs > DAY_MS
    if (isOld) rmSync(path, { recursive: true, force: true })
  }
  return target
}

async function build(recipe: Recipe): Promise<string> {
  const args = ['--variant=minbase', `--include=${recipe.packages.join(',')}`]
  // The Release file of testing may be past its date on a mirror that lags behind.
  args.push('--aptopt=Acquire::Check-Valid-Until "false"')
  if (recipe.copyNode) {
    args.push(`--customize-hook=upload ${process.execPath} /usr/local/bin/node`)
    args.push('--customize-hook=chmod 755 "$1/usr/local/bin/node"')
  }
  for (const command of recipe.customize ?? []) args.push(`--customize-hook=${command}`)
  const key = createHash('sha256').update(JSON.stringify([args, recipe.copyNode && process.version]))
  const target = join(cacheDirectory(), `${recipe.suite}-${key.digest('hex').slice(0, 16)}`)
  if (existsSync(target)) return target
  const script = `
    test -d "$1" && exit
    command -v mmdebstrap >/dev/null || { apt-get update -q && apt-get install -qy mmdebstrap; } >&2
    rm -rf "$1.new"
    target=$1 suite=$2 mirror=$3
    shift 3
    mmdebstrap --format=directory "$@" "$suite" "$target.new" "$mirror" >&2
    mv "$target.new" "$target"`
  await locked(`${target}.lock`, script, [target, recipe.suite, MIRROR, ...args])
  return target
}

/** Runs a shell script that only one process on this machine may run at a time; the lock ends with it, even if killed. */
async function locked(lock: string, script: string, args: readonly string[]): Promise<void> {
  await execa('flock', [lock, 'sh', '-euc', script, 'sh', ...args])
}

function addToHash(hash: ReturnType<typeof createHash>, path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (!stat) return
  if (stat.isDirectory()) {
    for (const name of readdirSync(path).sort()) addToHash(hash, join(path, name))
  } else {
    hash.update(`${path} ${String(stat.size)} ${String(stat.mtimeMs)}\n`)
  }
}
