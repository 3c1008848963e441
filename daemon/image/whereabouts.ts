/** A path, and the name of what is looked at in there. */
const PLACE_LENGTH = 4096
const NAME_LENGTH = 256
const PLACE = 4

/**
 * What a search looks at, in memory that its thread and the main thread see: a thread that hangs in a file system cannot tell.
 * What is read while the thread goes on may be half of one and half of another.
 */
export class Whereabouts {
  readonly shared: SharedArrayBuffer
  readonly #placeLength: Int32Array
  readonly #place: Buffer
  readonly #name: Buffer

  constructor(shared = new SharedArrayBuffer(PLACE + PLACE_LENGTH + NAME_LENGTH)) {
    this.shared = shared
    this.#placeLength = new Int32Array(shared, 0, 1)
    this.#place = Buffer.from(shared, PLACE, PLACE_LENGTH)
    this.#name = Buffer.from(shared, PLACE + PLACE_LENGTH)
  }

  /** Says that a directory is looked at. */
  enterPlace(path: string): void {
    this.#placeLength[0] = this.#place.write(path)
    this.#name[0] = 0
  }

  /** Says which name in it: the one that starts somewhere in a buffer and ends with a zero. */
  enterEntry(names: Buffer, start = 0): void {
    for (let at = 0; at < NAME_LENGTH; at++) if ((this.#name[at] = names[start + at] ?? 0) === 0) break
  }

  /** The directory and, once it is one of those in there, the path of the entry. */
  read(): { readonly place: string; readonly entry: string | undefined } {
    const place = this.#place.toString('utf8', 0, this.#placeLength[0])
    const name = this.#name.toString('utf8', 0, this.#name.indexOf(0))
    return { place, entry: name === '' ? undefined : pathOf(place, name) }
  }
}

/** The path of an entry of a directory. */
export function pathOf(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}
