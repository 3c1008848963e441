import { constants as fs } from 'node:fs'
import * as os from 'node:os'
import { parentPort } from 'node:worker_threads'
import { CopyControl } from './copy-control.ts'
import { CopyFailures } from './copy-failures.ts'
import { FileCopier, type FileCopyRequest, type Owner } from './copy-file.ts'
import { HardLinks, type HardLinksPlace } from './copy-hard-links.ts'
import { keepsModes } from './copy-target.ts'
import { forEachEntry, isFile } from './directory-entries.ts'
import { nameOf, openAt, textOf } from './file-at.ts'
import { closeFd } from './libc.ts'
import { ProcDescriptors } from './proc-descriptors.ts'
import { FileRemover } from './remove-file.ts'
import { help, type Meeting } from './tree-help.ts'

/* The entry of a worker thread that helps another one with a tree (tree-helper.ts), whose descriptors it uses. */

interface CopyTask {
  readonly kind: 'copy'
  readonly request: FileCopyRequest
  /** The memory of a CopyControl. */
  readonly control: SharedArrayBuffer
  readonly hardLinks: HardLinksPlace | undefined
  readonly initialOwner: Owner | undefined
}

interface RemovalTask {
  readonly kind: 'removal'
  readonly control: SharedArrayBuffer
}

/** What to do with the files in the directories that are given. */
export type TreeTask = CopyTask | RemovalTask

/** See setpriority(2). */
const NICE = 10
const here = nameOf('.')
const buffer = Buffer.allocUnsafeSlow(32 * 1024)

function copyFiles(task: CopyTask, meeting: Meeting): void {
  const control = new CopyControl(task.control, true)
  const descriptors = new ProcDescriptors()
  const hardLinks = task.hardLinks && new HardLinks(task.hardLinks)
  const copier = new FileCopier(task.request, { control, descriptors, hardLinks, initialOwner: task.initialOwner })
  help(meeting, (input, output) => {
    const failures = new CopyFailures(task.request.image === true)
    const keeps = keepsModes(output)
    forEachFile(input, (name, type) => {
      control.throwIfCancelled()
      try {
        copier.copy({ directory: input, name }, { directory: output, name, keepsModes: keeps }, type)
        control.count(0, 1)
      } catch (error) {
        failures.add(error, () => textOf(name))
      }
    })
    failures.throwFirst()
  })
  hardLinks?.close()
  descriptors.close()
}

function removeFiles({ control }: RemovalTask, meeting: Meeting): void {
  const remover = new FileRemover(new CopyControl(control, true))
  help(meeting, (directory) => {
    forEachFile(directory, (name) => {
      remover.remove({ directory, name })
    })
  })
}

/** With the type as one of the S_IF constants. Reads on its own, as a descriptor stands at one place for all threads. */
function forEachFile(directory: number, visit: (name: Buffer, type: number) => void): void {
  const own = openAt({ directory, name: here }, fs.O_RDONLY | fs.O_DIRECTORY)
  try {
    forEachEntry(own, buffer, (name, kind) => {
      if (isFile(kind)) visit(name, kind << 12)
    })
  } finally {
    closeFd(own)
  }
}

// It takes what others leave: the main thread is to answer as fast as with one thread that copies. Linux has this for each thread.
os.setPriority(0, NICE)
parentPort?.on('message', (task: TreeTask & Meeting) => {
  if (task.kind === 'copy') copyFiles(task, task)
  else removeFiles(task, task)
})
