/** What came from the other side breaks the D-Bus specification; the connection it came from has to be closed. */
export class ProtocolError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ProtocolError'
  }
}

/** The types of D-Bus that contain no other type. */
export type BasicCode = 'y' | 'b' | 'n' | 'q' | 'i' | 'u' | 'x' | 't' | 'd' | 's' | 'o' | 'g' | 'h'

/** One single complete type, as a tree. */
export type Type =
  | { readonly kind: 'basic'; readonly code: BasicCode; readonly alignment: number }
  | { readonly kind: 'variant'; readonly alignment: 1 }
  | { readonly kind: 'array'; readonly element: Type; readonly alignment: 4 }
  | { readonly kind: 'dict'; readonly key: Type & { kind: 'basic' }; readonly value: Type; readonly alignment: 4 }
  | { readonly kind: 'struct'; readonly members: readonly Type[]; readonly alignment: 8 }

const alignments: Readonly<Record<BasicCode, number>> = {
  y: 1,
  b: 4,
  n: 2,
  q: 2,
  i: 4,
  u: 4,
  x: 8,
  t: 8,
  d: 8,
  s: 4,
  o: 4,
  g: 1,
  h: 4
}

const basicTypes = new Map<string, Type & { kind: 'basic' }>(
  Object.entries(alignments).map(([code, alignment]) => [code, { kind: 'basic', code: code as BasicCode, alignment }])
)

const maxLength = 255
const maxNesting = 32

/**
 * Parses a signature into its single complete types. Throws ProtocolError if it is not valid: longer than 255,
 * unknown codes, empty structs, dictionary entries outside of arrays or with container keys, or more than 32 arrays or
 * 32 structs in each other (D-Bus specification, "Valid Signatures").
 */
export function parseSignature(signature: string): Type[] {
  if (signature.length > maxLength) throw new ProtocolError('signature is longer than 255')
  let position = 0

  function parseDict(arrays: number, structs: number): Type {
    const key = basicTypes.get(signature.charAt(position++))
    if (!key) throw new ProtocolError('dictionary key is not of a basic type')
    if (structs >= maxNesting) throw new ProtocolError('signature nests too many structs')
    const value = parseOne(arrays, structs + 1)
    if (signature[position++] !== '}') throw new ProtocolError('dictionary entry does not have two types')
    return { kind: 'dict', key, value, alignment: 4 }
  }

  function parseOne(arrays: number, structs: number): Type {
    const code = signature.charAt(position++)
    const basic = basicTypes.get(code)
    if (basic) return basic
    if (code === 'v') return { kind: 'variant', alignment: 1 }
    if (code === 'a') {
      if (arrays >= maxNesting) throw new ProtocolError('signature nests too many arrays')
      if (signature[position] === '{') {
        position++
        return parseDict(arrays + 1, structs)
      }
      return { kind: 'array', element: parseOne(arrays + 1, structs), alignment: 4 }
    }
    if (code === '(') {
      if (structs >= maxNesting) throw new ProtocolError('signature nests too many structs')
      const members: Type[] = []
      do members.push(parseOne(arrays, structs + 1))
      while (signature[position] !== ')')
      position++
      return { kind: 'struct', members, alignment: 8 }
    }
    throw new ProtocolError(code === '' ? 'signature ends early' : 'signature has an unknown type')
  }

  const types: Type[] = []
  while (position < signature.length) types.push(parseOne(0, 0))
  return types
}

/** The alignment of what an array contains: entries of dictionaries are aligned as structs. */
export function elementAlignment(type: Type & { kind: 'array' | 'dict' }): number {
  return type.kind === 'dict' ? 8 : type.element.alignment
}
