import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { isSystemError, MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { runCommand } from './command.ts'
import { writeFileAtomically } from './file.ts'
import { NftShell } from './nft-shell.ts'

const DEADLINE_MS = 10_000
const LIMIT = 64 * 1024
/** A document from so many characters on would leave an nft that goes on with tens of megabytes. */
const BIG = 256 * 1024

/** A chain as nft(8) lists it. */
export interface Chain {
  /** Its family and name, such as `inet filter`. */
  readonly table: string
  readonly chain: string
  /** Where packets meet it, such as `forward`; undefined for one that others jump to. */
  readonly hook: string | undefined
  /** What becomes of packets that no rule decides on: `accept` or `drop`. */
  readonly policy: string | undefined
}

/** All chains of the host; none where there is no nft. Their rules are not listed: nft 1.0 crashes on some of newer ones. */
export async function listChains(): Promise<Chain[]> {
  const options = { deadlineMs: DEADLINE_MS, limit: 16 * LIMIT }
  const { stdout } = await runCommand('nft', ['list', 'chains'], options).catch((error: unknown) => {
    if (!isSystemError(error) || error.code !== 'ENOENT') throw error
    return { stdout: '' }
  })
  const found: Chain[] = []
  for (const [, table = '', body = ''] of stdout.matchAll(/^table (\S+ \S+) \{$(.*?)^\}$/gms)) {
    for (const [, chain = '', text = ''] of body.matchAll(/^\tchain (\S+) \{$(.*?)^\t\}$/gms)) {
      const [hook, policy] = [/ hook (\w+)/, /policy (\w+);/].map((pattern) => pattern.exec(text)?.[1])
      found.push({ table, chain, hook, policy })
    }
  }
  return found
}

/** Applies documents in the language of nft(8), all of each or nothing. */
export class Nft {
  #shell: NftShell | undefined
  #port: number | undefined

  /** Whether what comes from that port of netlink(7) is our doing: all that `change` does, and most of `apply`. */
  isOurs(port: number): boolean {
    return port === this.#port
  }

  /**
   * Applies a document, which is in effect when this resolves. It stays in the file, to be looked at; nft 1.0 can read
   * some documents from files only. Throws NotSupported when there is no nft, Failed with what it says.
   */
  async apply(path: string, text: string): Promise<void> {
    writeDocument(path, text)
    if (text.length > BIG || !(await this.#applyByShell(path))) await applyFile(path)
  }

  /** Applies one that is known to be ours, see `isOurs`. Where that cannot be, or nft refuses it, this gives false. */
  async change(path: string, text: string): Promise<boolean> {
    writeDocument(path, text)
    return this.#applyByShell(path)
  }

  /** Ends the nft that waits for documents. */
  close(): void {
    this.#shell?.close()
    this.#shell = undefined
  }

  /** Whether the nft that waits has done it. That may have died, and not every build can wait. */
  async #applyByShell(path: string): Promise<boolean> {
    this.#shell ??= new NftShell(DEADLINE_MS)
    this.#port = this.#shell.port
    try {
      await this.#shell.run(`include "${path}"`)
      return true
    } catch (error) {
      log.debug({ err: error }, `Applying ${path} by an nft of its own`)
      this.close()
      return false
    }
  }
}

function writeDocument(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  writeFileAtomically(path, text, 0o600)
}

async function applyFile(path: string): Promise<void> {
  const { exitCode, stderr } = await runCommand('nft', ['-f', path], { deadlineMs: DEADLINE_MS, limit: LIMIT }).catch(
    (error: unknown) => {
      if (!isSystemError(error) || error.code !== 'ENOENT') throw error
      throw new MachinedError('NotSupported', 'There is no nft(8), so that networks have neither NAT nor port forwards')
    }
  )
  if (exitCode === 0) return
  // A signal ends some versions on what they cannot read.
  const reason = exitCode === undefined ? 'nft crashed' : (stderr.split('\n', 1)[0] ?? '')
  throw new MachinedError('Failed', `Failed to apply rules: ${reason}`)
}
