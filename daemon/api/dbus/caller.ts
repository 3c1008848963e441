import type { BusDriver } from '../../bus/driver.ts'
import type { BusMessage } from '../../bus/message.ts'
import type { PolkitSubject } from '../../bus/polkit.ts'
import type { PidRef } from '../../linux/process.ts'
import type { Caller } from './table.ts'

/** Header flag ALLOW_INTERACTIVE_AUTHORIZATION of the D-Bus specification. */
const allowInteractive = 0x4

/** The sender of a call, as the message broker knows it. */
export class BusCaller implements Caller {
  readonly name: string
  readonly message: BusMessage
  readonly #driver: Pick<BusDriver, 'uid' | 'pin'>
  #pinned: Promise<PidRef> | undefined

  constructor(message: BusMessage, driver: Pick<BusDriver, 'uid' | 'pin'>) {
    this.name = message.sender ?? ''
    this.message = message
    this.#driver = driver
  }

  get interactive(): boolean {
    return (this.message.flags & allowInteractive) !== 0
  }

  subject(): PolkitSubject {
    return { busName: this.name }
  }

  uid(): Promise<number> {
    return this.#driver.uid(this.name)
  }

  /** The broker is asked once a call, however often rows are run again. */
  async pin(): Promise<PidRef> {
    this.#pinned ??= this.#driver.pin(this.name)
    return (await this.#pinned).clone()
  }

  /** To be called when the call is over. */
  async close(): Promise<void> {
    const process = await this.#pinned?.catch(() => undefined)
    process?.close()
  }
}
