import { formatJson } from './json.ts'
import type { Output } from './schema.ts'

/** The text of a reply; `continues` says that others follow. */
export function formatReply(output: Output, continues: boolean): string {
  const text = formatJson(output)
  // Nothing is said of parameters where there are none.
  const parameters = text === '{}' ? [] : [`"parameters":${text}`]
  return `{${(continues ? [...parameters, '"continues":true'] : parameters).join(',')}}`
}
