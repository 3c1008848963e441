import { isSystemError } from '../base/errors.ts'
import { runCommand } from '../linux/command.ts'

const OPTIONS = { deadlineMs: 10_000, limit: 4 * 1024 * 1024 }
/** Says which rules are ours. */
const TAG = ['-m', 'comment', '--comment', 'machined']
const TAGGED = '--comment machined '

/** Chains that docker and ufw offer for rules of others, which come before those that drop (networking.md 7.8). */
const FORWARD_CHAINS = ['DOCKER-USER', 'ufw-user-forward', 'ufw6-user-forward']
const INPUT_CHAINS = ['ufw-user-input', 'ufw6-user-input']
/** All of them. */
export const OFFERED_CHAINS: ReadonlySet<string> = new Set([...FORWARD_CHAINS, ...INPUT_CHAINS])

/**
 * Lets what machines at these bridges send and get through the firewalls of docker and ufw, where there are any, and at
 * no other ones. By iptables(8), so that it is of whichever kind theirs is. Does nothing where there is no iptables.
 * Throws Node's errors of commands.
 */
export async function acceptInOfferedChains(bridges: readonly string[]): Promise<void> {
  for (const command of ['iptables', 'ip6tables']) {
    const lines = await listRules(command)
    const isWanted = (line: string): boolean => bridges.some((bridge) => / -[io] (\S+) /.exec(line)?.[1] === bridge)
    for (const line of lines) {
      if (line.startsWith('-A ') && line.includes(TAGGED) && !isWanted(line)) {
        await run(command, ['-D', ...line.split(' ').slice(1)])
      }
    }
    const chains = lines
      .flatMap((line) => /^-N (\S+)$/.exec(line)?.[1] ?? [])
      .filter((name) => OFFERED_CHAINS.has(name))
    for (const chain of chains) for (const bridge of bridges) await accept(command, chain, bridge, lines)
  }
}

async function accept(command: string, chain: string, bridge: string, lines: readonly string[]): Promise<void> {
  for (const rule of rulesFor(chain, bridge)) {
    const start = `-A ${chain} ${rule[0]} ${bridge} `
    const isThere = lines.some((line) => line.startsWith(start) && line.includes(TAGGED))
    if (!isThere) await run(command, ['-I', chain, ...rule])
  }
}

function rulesFor(chain: string, bridge: string): string[][] {
  const from = ['-i', bridge, ...TAG, '-j', 'ACCEPT']
  const answers = ['-o', bridge, '-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED,DNAT', ...TAG, '-j', 'ACCEPT']
  return INPUT_CHAINS.includes(chain) ? [from] : [from, answers]
}

async function listRules(command: string): Promise<string[]> {
  try {
    return (await run(command, ['-S'])).split('\n')
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return []
    throw error
  }
}

async function run(command: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr, exitCode } = await runCommand(command, ['-w', '5', ...args], OPTIONS)
  if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr.trim()}`)
  return stdout
}
