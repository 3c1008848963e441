import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { Script } from 'node:vm'

/** What the build puts at a program's end: a comment with the hash of all before. */
const MARK = /\n\/\/ ([0-9a-f]{64})\n$/
const MARK_BYTES = 64

type Body = (require: NodeJS.Require, module: { exports: unknown }, __filename: string, __dirname: string) => void

/**
 * A CommonJS program, without import(), whose code is kept from one run to the next as V8 has compiled it, which halves
 * the time that it takes to load. V8 itself sees to it that code of another version, or compiled with other flags, is not
 * taken; that it belongs to this very program is told by the mark at its end, without which nothing is kept.
 *
 * V8 trusts the kept code without a look: its file must be writable by none but who runs the program, and on a file
 * system that a loss of power leaves nothing of. Kept code is removed before it is run, so that a run that fails of it is
 * the only one.
 */
export class KeptProgram {
  /** Whether kept code was found and taken. */
  readonly wasKept: boolean
  readonly #path: string
  readonly #place: string | undefined
  readonly #mark: string | undefined
  readonly #script: Script

  /** Compiles the program at `path`; its code is kept in the file `place`, if there is one. Throws as readFileSync(), and for bad syntax. */
  constructor(path: string, place: string | undefined) {
    this.#path = path
    this.#place = place
    const source = readFileSync(path, 'utf8')
    this.#mark = MARK.exec(source.slice(-2 * MARK_BYTES))?.[1]
    const cachedData = this.#take()
    this.#script = new Script(`(function (require, module, __filename, __dirname) {${source}})`, {
      filename: path,
      ...(cachedData && { cachedData })
    })
    this.wasKept = cachedData !== undefined && this.#script.cachedDataRejected === false
  }

  /** Runs it, once. */
  run(): void {
    const body = this.#script.runInThisContext() as Body
    body(createRequire(this.#path), { exports: {} }, this.#path, dirname(this.#path))
  }

  /** Keeps the code of all functions that have been called so far. Throws nothing: the next run is slower then. */
  keep(): void {
    if (this.#place === undefined || this.#mark === undefined) return
    const temporary = `${this.#place}.new`
    const kept = Buffer.concat([Buffer.from(this.#mark), this.#script.createCachedData()])
    try {
      writeFileSync(temporary, kept, { mode: 0o600 })
      renameSync(temporary, this.#place)
    } catch {
      rmSync(temporary, { force: true })
    }
  }

  #take(): Buffer | undefined {
    if (this.#place === undefined) return undefined
    try {
      const kept = readFileSync(this.#place)
      rmSync(this.#place)
      return kept.toString('latin1', 0, MARK_BYTES) === this.#mark ? kept.subarray(MARK_BYTES) : undefined
    } catch {
      return undefined
    }
  }
}
