/** Of whom a value is. */
export type Daemon = 'stock' | 'ours'

/** What `make bench` gives to each of its parts. */
export interface Bench {
  /** Runs the client (bench-client.ts) and gives what it says. */
  readonly client: (...args: string[]) => Promise<unknown>
  /** Lets both daemons take turns. */
  readonly takeTurns: (turn: (daemon: Daemon) => Promise<void>) => Promise<void>
  /** Adds a value of one round to a row of the table. */
  readonly add: (daemon: Daemon, name: string, unit: string, value: number) => void
}
