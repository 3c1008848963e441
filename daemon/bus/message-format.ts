/** The most bytes a message may have, header included: 128 MiB. */
export const maxMessageLength = 2 ** 27

/** The most bytes the elements of one array may take: 64 MiB. */
export const maxArrayLength = 2 ** 26

/** How deep arrays, structs and variants may be in each other. */
export const maxDepth = 64

/**
 * How many elements of arrays and structs one message may have. A message of 128 MiB can hold some 30 million, each of
 * which costs us many times its bytes; this many cost some 40 MB at most.
 */
export const maxValues = 2 ** 18

/** A D-Bus message (D-Bus specification, "Message Format"). */
export interface BusMessage {
  /** 1 method call, 2 method return, 3 error, 4 signal. */
  type: 1 | 2 | 3 | 4
  flags: number
  serial: number
  path?: string | undefined
  interface?: string | undefined
  member?: string | undefined
  errorName?: string | undefined
  replySerial?: number | undefined
  destination?: string | undefined
  sender?: string | undefined
  signature: string
  /** Of received messages it is decoded when first asked for; that throws ProtocolError if it does not fit the signature. */
  body: unknown[]
  /** The first value of a received body that begins with a string, without decoding the rest. Throws ProtocolError too. */
  readonly arg0?: string | undefined
  /** Owned by the message. */
  fds: number[]
}

/** The header fields by their code, each with the character code of its type. */
export const fields = [
  undefined,
  { name: 'path', type: 0x6f },
  { name: 'interface', type: 0x73 },
  { name: 'member', type: 0x73 },
  { name: 'errorName', type: 0x73 },
  { name: 'replySerial', type: 0x75 },
  { name: 'destination', type: 0x73 },
  { name: 'sender', type: 0x73 },
  { name: 'signature', type: 0x67 },
  { name: 'fdCount', type: 0x75 }
] as const

/** The header fields a message must have, by its type. */
export const requiredFields = {
  1: ['path', 'member'],
  2: ['replySerial'],
  3: ['errorName', 'replySerial'],
  4: ['path', 'interface', 'member']
} as const
