import { run } from './run.ts'

// Who reads our output may have seen enough of it.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
void run(process.argv.slice(2)).then((status) => (process.exitCode = status))
