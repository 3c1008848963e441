import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { nameOf, openAt, renameAt } from '../linux/file-at.ts'
import { closeFd } from '../linux/libc.ts'
import type { ImagePlaces } from './places.ts'

/*
 * Files that belong to an image by its name: settings for systemd-nspawn in several places, and what lies beside it: hashes
 * of its file systems, states of virtual machines (spec/dbus.md 8.8). An image is well without, so what fails with them is
 * only told.
 */

const SETTINGS = '.nspawn'
const SUFFIXES = [
  SETTINGS,
  '.oci-config',
  '.roothash',
  '.roothash.p7s',
  '.usrhash',
  '.usrhash.p7s',
  '.verity',
  '.raw.tpmstate',
  '.raw.efinvramstate'
]

/** What went wrong with side files, for the log. */
export type Complaints = string[]

interface SideFile {
  readonly directory: string
  readonly suffix: string
}

/** The places for side files of an image at a path; nothing needs to be there. */
function sideFiles(path: string, { settings }: ImagePlaces): SideFile[] {
  const beside = dirname(path)
  const elsewhere = settings.filter((directory) => directory !== beside)
  return [
    ...elsewhere.map((directory) => ({ directory, suffix: SETTINGS })),
    ...SUFFIXES.map((suffix) => ({ directory: beside, suffix }))
  ]
}

/** Removes the side files of the image that was at `path`. */
export function removeSideFiles(name: string, path: string, places: ImagePlaces): Complaints {
  return forEach(sideFiles(path, places), ({ directory, suffix }) => {
    // States of virtual machines can be directories.
    fs.rmSync(join(directory, name + suffix), { recursive: true })
  })
}

/** Renames the side files of the image that was at `path`, each where it is. What has the new name already stays. */
export function renameSideFiles(from: string, to: string, path: string, places: ImagePlaces): Complaints {
  return forEach(sideFiles(path, places), ({ directory, suffix }) => {
    const fd = openAt({ directory: -1, name: nameOf(directory) }, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
    try {
      renameAt({ directory: fd, name: nameOf(from + suffix) }, { directory: fd, name: nameOf(to + suffix) })
    } finally {
      closeFd(fd)
    }
  })
}

/**
 * Copies the side files of the image at `source` for its clone at `target`: those beside it to beside the clone, the others
 * where they are. What is there already stays.
 */
export function cloneSideFiles(
  from: { name: string; path: string },
  to: { name: string; path: string },
  places: ImagePlaces
): Complaints {
  return forEach(sideFiles(from.path, places), ({ directory, suffix }) => {
    const source = join(directory, from.name + suffix)
    const target = join(directory === dirname(from.path) ? dirname(to.path) : directory, to.name + suffix)
    if (fs.statSync(source).isFile()) copySettings(source, target)
    else fs.cpSync(source, target, { recursive: true, force: false, errorOnExist: true, preserveTimestamps: true })
  })
}

function copySettings(source: string, target: string): void {
  fs.copyFileSync(source, target, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE)
  fs.chmodSync(target, 0o644)
}

function forEach(files: readonly SideFile[], work: (file: SideFile) => void): Complaints {
  const complaints: Complaints = []
  for (const file of files) {
    try {
      work(file)
    } catch (error) {
      if (!isSystemError(error)) throw error
      if (error.code !== 'ENOENT') complaints.push(error.message)
    }
  }
  return complaints
}
