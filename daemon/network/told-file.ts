import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { writeFileAtomically } from '../linux/file.ts'

/** A file below /run by which another daemon is told something. An earlier one of ours may have left it. */
export class ToldFile {
  readonly #path: string
  #text: string | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Makes it say this, '' for no file; whether it said something else before. Throws what fs throws. */
  say(text: string): boolean {
    if (text === (this.#text ?? (existsSync(this.#path) ? undefined : ''))) return false
    if (text === '') rmSync(this.#path, { force: true })
    else {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o755 })
      writeFileAtomically(this.#path, text, 0o644)
    }
    this.#text = text
    return true
  }
}
