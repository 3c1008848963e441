import { formatJson } from './json.ts'
import type { Output } from './schema.ts'

/** The text of a reply; `continues` says that others follow. */
export function formatReply(output: Output, continues: boolean): string {
  const isEmpty = Object.values(output).every((value) => value === undefined)
  return formatJson({ ...(!isEmpty && { parameters: output }), ...(continues && { continues: true }) })
}
