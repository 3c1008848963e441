import type { BoundInterface, PreparedTable } from './binding.ts'
import { whenReady } from '../when-ready.ts'
import { bind, prepare } from './binding.ts'
import { childOn } from './object-path.ts'
import type { Caller, InterfaceTable } from './table.ts'

/** The target of a path below a prefix; `label` is what follows the prefix, still escaped. */
export type Find<T> = (label: string, caller: Caller) => T | undefined | Promise<T | undefined>

/** The labels (escaped) of all objects below a prefix. */
export type Children = () => readonly string[] | Promise<readonly string[]>

interface Fallback {
  readonly table: PreparedTable
  readonly find: Find<unknown>
  readonly children: Children
}

/** Which objects there are, by path. */
export class ObjectTree {
  readonly #exact = new Map<string, BoundInterface[]>()
  readonly #fallbacks = new Map<string, Fallback>()

  /** Puts one object at one path; more tables at a path are more interfaces of the object. */
  mount<T>(path: string, table: InterfaceTable<T>, target: T): void {
    const object = this.#exact.get(path) ?? []
    object.push(bind(prepare(table), target))
    this.#exact.set(path, object)
  }

  /** Serves all paths below `prefix`, but not `prefix` itself. */
  mountFallback<T>(prefix: string, table: InterfaceTable<T>, find: Find<T>, children: Children): void {
    this.#fallbacks.set(prefix, { table: prepare(table), find, children })
  }

  /** The interfaces of the object at `path`; undefined if there is no object, even if there are some below. */
  lookUp(
    path: string,
    caller: Caller
  ): readonly BoundInterface[] | undefined | Promise<readonly BoundInterface[] | undefined> {
    const object = this.#exact.get(path)
    if (object) return object
    // A prefix is an object without interfaces, as sd-bus has it where it can list children.
    if (this.#fallbacks.has(path)) return []
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const fallback = this.#fallbacks.get(path.slice(0, end))
      if (!fallback) continue
      return whenReady(fallback.find(path.slice(end + 1), caller), (target) =>
        target === undefined ? undefined : [bind(fallback.table, target)]
      )
    }
    return undefined
  }

  /** The labels of the children of `path`, sorted; undefined if there is neither a child nor a prefix at `path`. */
  children(path: string): readonly string[] | undefined | Promise<readonly string[] | undefined> {
    const labels = new Set<string>()
    for (const node of [...this.#exact.keys(), ...this.#fallbacks.keys()]) {
      const label = childOn(path, node)
      if (label !== undefined) labels.add(label)
    }
    const fallback = this.#fallbacks.get(path)
    if (!fallback) return labels.size > 0 ? [...labels].sort() : undefined
    return whenReady(fallback.children(), (found) => [...new Set([...labels, ...found])].sort())
  }
}
