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
 * Lets what machines send and get through the firewalls of docker and ufw, where there are any. By iptables(8), so that
 * it is of whichever kind theirs is. Does nothing where there is no iptables. Throws Node's errors of commands.
 */
export async function acceptInOfferedChains(bridge: string): Promise<void> {
  for (const command of ['iptables', 'ip6tables']) {
    const lines = await listRules(command)
    const chains = lines
      .flatMap((line) => /^-N (\S+)$/.exec(line)?.[1] ?? [])
      .filter((name) => OFFERED_CHAINS.has(name))
    for (const chain of chains) {
      for (const rule of rulesFor(chain, bridge)) {
        const isThere = lines.some(
          (line) => line.startsWith(`-A ${chain} ${rule[0]} ${bridge} `) && line.includes(TAGGED)
        )
        if (!isThere) await run(command, ['-I', chain, ...rule])
      }
    }
  }
}

/** Takes all rules away again that are tagged as ours. */
export async function removeFromOfferedChains(): Promise<void> {
  for (const command of ['iptables', 'ip6tables']) {
    for (const line of await listRules(command)) {
      if (line.startsWith('-A ') && line.includes(TAGGED)) await run(command, ['-D', ...line.split(' ').slice(1)])
    }
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
