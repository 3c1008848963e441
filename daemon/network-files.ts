import { configDirectories } from './base/config-directories.ts'
import { configFiles, readNetworkSettings } from './config.ts'
import { namesIn } from './linux/file.ts'
import { ownNetworkSettings, type NetworkConfig } from './network/network-config.ts'
import { DEFAULT_NETWORK, isNetworkName } from './network/network-name.ts'

/** Where there is a file for each network but the default one, what counts most first. */
const DIRECTORIES = configDirectories('machined/networks')

/** What is configured for a network. */
export interface NetworkFile {
  readonly config: NetworkConfig
  /** The files it was read from, in the order in which they count: the last one wins. */
  readonly files: readonly string[]
}

/** The names of the networks that there is a file for, sorted. `directories` is for tests. */
export function listNetworkFiles(directories: readonly string[] = DIRECTORIES): string[] {
  const names = directories.flatMap(namesIn).flatMap((file) => /^(.+)\.conf$/.exec(file)?.[1] ?? [])
  const own = new Set(names.filter((name) => name !== DEFAULT_NETWORK && isNetworkName(name)))
  return [...own].sort().filter((name) => configFiles(directories, `${name}.conf`).length > 0)
}

/**
 * Reads `NAME.conf` and its drop-ins (networking.md 7.2), which count as those of machined.conf do; `base` is what holds
 * where they say nothing. Without any file the network is not configured. Says in the log what it cannot make sense of,
 * with file and line, and goes on without it. `directories` is for tests.
 */
export function readNetworkFile(
  name: string,
  base: NetworkConfig,
  directories: readonly string[] = DIRECTORIES
): NetworkFile {
  const files = configFiles(directories, `${name}.conf`)
  return { config: readNetworkSettings(files, ownNetworkSettings, base), files }
}
