import { existsSync } from 'node:fs'

/** Which source files a test answers for: test/bus/codec.test.ts covers daemon/bus/codec.ts. */
export default (test) => {
  const source = test.replace(/^test\//, 'daemon/').replace(/\.test\.ts$/, '.ts')
  return existsSync(source) ? [source] : []
}
