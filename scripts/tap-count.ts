/** How many tests ended how. */
export interface TestCounts {
  passed: number
  failed: number
  /** Skipped, or marked as to do. */
  skipped: number
  /** Of each failed test the way to it (`file > test > assertion`) and what tap said of it. */
  failures: string[]
}

const testPoint = /^( *)(not )?ok\b(?: \d+)?(?: - )?(.*)$/
const subtest = /^( *)# Subtest: (.*)$/
/** Longer explanations are cut. */
const MOST_LINES = 40

/**
 * Counts the tests in TAP output (https://testanything.org, version 14) without counting a subtest's closing line beside
 * what it sums up. A closing line that fails though nothing in it failed (a timeout, a crash) is a failure of its own.
 */
export async function countTests(lines: AsyncIterable<string> | Iterable<string>): Promise<TestCounts> {
  const counts: TestCounts = { passed: 0, failed: 0, skipped: 0, failures: [] }
  /** What was seen since the last line of each depth, by indentation. */
  let open: { depth: number; failed: boolean }[] = []
  let names: { depth: number; name: string }[] = []
  /** The explanation that follows a failure, while it lasts. */
  let explanation: string[] | undefined
  for await (const line of lines) {
    const title = subtest.exec(line)
    if (title !== null) names = [...above(names, title), { depth: depthOf(title), name: title[2] ?? '' }]
    const match = testPoint.exec(line)
    if (match === null) {
      if (title === null && explanation !== undefined && explanation.length < MOST_LINES) explanation.push(line)
      continue
    }
    if (explanation !== undefined) counts.failures.push(explanation.join('\n').trimEnd())
    explanation = undefined
    const depth = depthOf(match)
    const inside = open.filter((seen) => seen.depth > depth)
    open = open.filter((seen) => seen.depth <= depth)
    const excused = /# (skip|todo)\b/i.test(match[3] ?? '')
    const failed = match[2] !== undefined && !excused
    const closing = inside.length > 0
    if (!closing || (failed && !inside.some((seen) => seen.failed))) {
      counts[excused ? 'skipped' : failed ? 'failed' : 'passed']++
      if (failed) explanation = [[...above(names, match).map(({ name }) => name), match[3] ?? ''].join(' > ')]
    }
    open.push({ depth, failed })
  }
  if (explanation !== undefined) counts.failures.push(explanation.join('\n').trimEnd())
  return counts
}

function depthOf(match: RegExpExecArray): number {
  return match[1]?.length ?? 0
}

/** The subtests that a line is in. */
function above<T extends { depth: number }>(names: readonly T[], match: RegExpExecArray): T[] {
  return names.filter(({ depth }) => depth < depthOf(match))
}
