import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { projectDirectory } from '../host/root.ts'

const mark = 'a'.repeat(64)
const text = (word: string): string => `process.stdout.write('${word}')`
// As built, because a loader of TypeScript takes seconds for each process.
const [module, flags] = ['kept-program', 'early-compilation'].map((name) =>
  join(projectDirectory(), `dist/daemon/base/${name}.js`)
)

/** A program, and the file for its code, in a folder of their own. */
function place(t: Test): { code: string; write: (text: string, mark?: string) => void; run: () => Promise<string> } {
  const folder = t.testdir({})
  const [program, code] = [join(folder, 'program.cjs'), join(folder, 'code')]
  return {
    code,
    write: (text, mark) => {
      writeFileSync(program, mark === undefined ? text : `${text}\n// ${mark}\n`)
    },
    // V8 finds what it has compiled before in a process, so each run has one of its own.
    run: async () => {
      const steps = `
        import { KeptProgram } from '${module}'
        import { compileAsUsual, compileEarly } from '${flags}'
        import { existsSync } from 'node:fs'
        const [, program, code] = process.argv
        const kept = new KeptProgram(program, code)
        if (existsSync(code)) process.stdout.write('still there, ')
        compileEarly()
        kept.run()
        compileAsUsual()
        kept.keep()
        process.stdout.write(kept.wasKept ? ', kept' : '')`
      const args = ['--input-type=module', '--eval', steps, program, code]
      return (await execa(process.execPath, args, { env: { NODE_OPTIONS: '' } })).stdout
    }
  }
}

t.test('code is kept from one run to the next, for its owner only', async (t) => {
  const { write, run, code } = place(t)
  write(text('one'), mark)
  t.equal(await run(), 'one')
  t.equal(statSync(code).mode & 0o777, 0o600)
  t.equal(await run(), 'one, kept')
  t.equal(await run(), 'one, kept')
})

t.test('another program of the same length does not get it', async (t) => {
  const { write, run } = place(t)
  write(text('one'), mark)
  await run()
  write(text('two'), 'b'.repeat(64))
  t.equal(await run(), 'two')
})

t.test('a program without a mark keeps nothing', async (t) => {
  const { write, run, code } = place(t)
  write(text('one'))
  t.equal(await run(), 'one')
  t.notOk(existsSync(code))
})

t.test('what is no code, or cut off, is not run', async (t) => {
  const { write, run, code } = place(t)
  write(text('one'), mark)
  await run()
  const kept = readFileSync(code)
  for (const bad of [kept.subarray(0, kept.length - 1), kept.subarray(0, 70), `${mark}garbage`, '', mark]) {
    writeFileSync(code, bad)
    t.equal(await run(), 'one')
  }
})

t.test('where nothing can be kept it runs all the same', async (t) => {
  const { write, run, code } = place(t)
  write(text('one'), mark)
  mkdirSync(code)
  t.equal(await run(), 'still there, one')
  t.notOk(existsSync(`${code}.new`))
})
