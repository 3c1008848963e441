/** How many tests ended how. */
export interface TestCounts {
  passed: number
  failed: number
  /** Skipped, or marked as to do. */
  skipped: number
}

const testPoint = /^( *)(not )?ok\b(.*)$/

/**
 * Counts the tests in TAP output (https://testanything.org, version 14) without counting a subtest's closing line beside
 * what it sums up. A closing line that fails though nothing in it failed (a timeout, a crash) is a failure of its own.
 */
export async function countTests(lines: AsyncIterable<string> | Iterable<string>): Promise<TestCounts> {
  const counts: TestCounts = { passed: 0, failed: 0, skipped: 0 }
  /** What was seen since the last line of each depth, by indentation. */
  let open: { depth: number; failed: boolean }[] = []
  for await (const line of lines) {
    const match = testPoint.exec(line)
    if (match === null) continue
    const depth = match[1]?.length ?? 0
    const inside = open.filter((seen) => seen.depth > depth)
    open = open.filter((seen) => seen.depth <= depth)
    const excused = /# (skip|todo)\b/i.test(match[3] ?? '')
    const failed = match[2] !== undefined && !excused
    const closing = inside.length > 0
    if (!closing || (failed && !inside.some((seen) => seen.failed))) {
      counts[excused ? 'skipped' : failed ? 'failed' : 'passed']++
    }
    open.push({ depth, failed })
  }
  return counts
}
