import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Operations } from '../../daemon/base/operations.ts'
import { ImageChanges } from '../../daemon/image/image-changes.ts'
import type { Image, ImageType } from '../../daemon/image/image.ts'
import type { ImagePlaces } from '../../daemon/image/places.ts'

/** Places for images below a directory, what can be done to images there, and what is there. */
export class ThrowAwayPool {
  readonly top: string
  readonly places: ImagePlaces
  readonly operations = new Operations()
  readonly changes: ImageChanges
  /** What cleaning finds. */
  images: readonly Image[] = []

  constructor(top: string) {
    this.top = top
    this.places = {
      scope: 'system',
      search: [join(top, 'etc'), join(top, 'pool')],
      pool: join(top, 'pool'),
      locks: join(top, 'locks'),
      settings: [join(top, 'settings')],
      units: [join(top, 'units')]
    }
    for (const name of ['etc', 'pool', 'settings']) fs.mkdirSync(join(top, name), { recursive: true })
    const list = (): Promise<readonly Image[]> => Promise.resolve(this.images)
    this.changes = new ImageChanges({ places: this.places, list }, this.operations)
  }

  path(name: string): string {
    return join(this.top, name)
  }

  /** Runs a shell script in the pool. */
  sh(script: string): string {
    return execFileSync('sh', ['-euc', script], { cwd: this.places.pool, encoding: 'utf8', stdio: 'pipe' })
  }

  /** The image that an entry of the pool (or a path below `top`) is, as a search would describe it. */
  image(entryName: string, type: ImageType): Image {
    const entry = entryName.includes('/') ? this.path(entryName) : join(this.places.pool, entryName)
    const name = entry.replace(/^.*\//, '').replace(/\.(raw|mstack)$/, '')
    const path = fs.realpathSync(entry)
    const sizes = { usage: 1n, usageExclusive: 2n, limit: 3n, limitExclusive: 4n }
    return { name, type, path, entry, readOnly: false, created: 5n, modified: 0n, ...sizes, foreignOwned: false }
  }

  /** Names in the pool, sorted, hidden ones included. */
  names(): string[] {
    return fs.readdirSync(this.places.pool).sort()
  }

  close(): void {
    this.changes.close()
  }
}
