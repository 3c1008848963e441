import { existsSync } from 'node:fs'

/** Which source files a test answers for: test/bus/codec.test.ts covers daemon/bus/codec.ts, test/cli/output.test.ts cli/output.ts. */
export default (test) => {
  const folder = test.startsWith('test/cli/') ? '' : 'daemon/'
  const source = test.replace(/^test\//, folder).replace(/\.test\.ts$/, '.ts')
  return existsSync(source) ? [source] : []
}
