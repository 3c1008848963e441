import { parentPort } from 'node:worker_threads'
import { type Scanned, StatusScan } from './status-scan.ts'

/* The entry of a worker thread that takes part in long looks at files (file-statuses.ts). */

parentPort?.on('message', (scanned: Scanned) => {
  new StatusScan(scanned).runAsOther()
})
