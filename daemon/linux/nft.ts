import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { isSystemError, MachinedError } from '../base/errors.ts'
import { runCommand } from './command.ts'
import { writeFileAtomically } from './file.ts'

const DEADLINE_MS = 10_000
const LIMIT = 64 * 1024

/**
 * Applies a document in the language of nft(8), all of it or nothing. It stays in the file, to be looked at; nft 1.0 can
 * read some documents from files only. Throws NotSupported when there is no nft, Failed with what it says.
 */
export async function applyDocument(path: string, text: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  writeFileAtomically(path, text, 0o600)
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
