/*
 * The order of versions by the UAPI group's specification (version format): `~` makes a pre-release, older than nothing
 * at all; `-` starts the release, `^` a patched one, `.` the next field; fields of digits count as numbers.
 */

const NO_PART = /^[^A-Za-z0-9.~^-]+/
const DIGITS = /^[0-9]*/
const LETTERS = /^[A-Za-z]*/

/** The order of two versions, for sorting: negative when `a` is the older one. */
export function compareVersions(a: string, b: string): number {
  for (;;) {
    a = a.replace(NO_PART, '')
    b = b.replace(NO_PART, '')
    if (a.startsWith('~') || b.startsWith('~')) {
      const order = olderIfMarked('~', a, b)
      if (order !== 0) return order
    }
    if (a === '' || b === '') return Number(a !== '') - Number(b !== '')
    const mark = ['~', '-', '^', '.'].find((mark) => a.startsWith(mark) || b.startsWith(mark))
    if (mark !== undefined) {
      const order = olderIfMarked(mark, a, b)
      if (order !== 0) return order
      a = a.slice(1)
      b = b.slice(1)
      continue
    }
    const isNumber = /^[0-9]/.test(a) || /^[0-9]/.test(b)
    const [partA, partB] = isNumber
      ? [leading(DIGITS, a), leading(DIGITS, b)]
      : [leading(LETTERS, a), leading(LETTERS, b)]
    const order = isNumber ? compareNumbers(partA, partB) : compareText(partA, partB)
    if (order !== 0) return order
    a = a.slice(partA.length)
    b = b.slice(partB.length)
  }
}

function olderIfMarked(mark: string, a: string, b: string): number {
  return Number(b.startsWith(mark)) - Number(a.startsWith(mark))
}

function leading(pattern: RegExp, text: string): string {
  return pattern.exec(text)?.[0] ?? ''
}

/** Of any length; no digits at all are less than any number. */
function compareNumbers(a: string, b: string): number {
  if (a === '' || b === '') return Number(a !== '') - Number(b !== '')
  const [x, y] = [a.replace(/^0+/, ''), b.replace(/^0+/, '')]
  return x.length - y.length || compareText(x, y)
}

/** In the order of ASCII, where what continues another text comes after it. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
