import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { entryOf, nameOf, openAt, renameAt } from '../linux/file-at.ts'
import { closeFd } from '../linux/libc.ts'
import type { ImagePlaces } from './places.ts'

/*
 * Files that belong to an image by its name: settings for systemd-nspawn in several places, what lies beside it: hashes
 * of its file systems, states of virtual machines (spec/dbus.md 8.8), and that it is started at boot, which the stock daemon
 * forgets. An image is well without, so what fails with them is only told.
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

/** The units that start an image, which `machinectl enable` links to, and which can be changed for one image. */
const UNITS = ['systemd-nspawn@', 'systemd-vmspawn@']
const ENABLED = 'machines.target.wants'

interface SideFile {
  readonly directory: string
  /** What the name of the file has before and after that of the image. */
  readonly prefix: string
  readonly suffix: string
}

function nameFor(image: string, { prefix, suffix }: SideFile): string {
  return prefix + image + suffix
}

/** The places for side files of an image at a path; nothing needs to be there. */
function sideFiles(path: string, { settings }: ImagePlaces): SideFile[] {
  const beside = dirname(path)
  const elsewhere = settings.filter((directory) => directory !== beside)
  return [
    ...elsewhere.map((directory) => ({ directory, prefix: '', suffix: SETTINGS })),
    ...SUFFIXES.map((suffix) => ({ directory: beside, prefix: '', suffix }))
  ]
}

/** What starts the image at boot, and how; a clone has none of it. Of versions of an image, others may be left. */
function unitFiles(path: string, { units }: ImagePlaces): SideFile[] {
  if (dirname(path).endsWith('.v')) return []
  return units.flatMap((directory) =>
    UNITS.flatMap((prefix) => [
      { directory: join(directory, ENABLED), prefix, suffix: '.service' },
      { directory, prefix, suffix: '.service.d' }
    ])
  )
}

/** Removes the side files of the image that was at `path`. */
export function removeSideFiles(name: string, path: string, places: ImagePlaces): Complaints {
  return forEach([...sideFiles(path, places), ...unitFiles(path, places)], (file) => {
    // States of virtual machines can be directories.
    fs.rmSync(join(file.directory, nameFor(name, file)), { recursive: true })
  })
}

/** Renames the side files of the image that was at `path`, each where it is. What has the new name already stays. */
export function renameSideFiles(from: string, to: string, path: string, places: ImagePlaces): Complaints {
  return forEach([...sideFiles(path, places), ...unitFiles(path, places)], (file) => {
    const { O_RDONLY, O_DIRECTORY } = fs.constants
    const directory = openAt(entryOf(file.directory), O_RDONLY | O_DIRECTORY)
    try {
      renameAt({ directory, name: nameOf(nameFor(from, file)) }, { directory, name: nameOf(nameFor(to, file)) })
    } finally {
      closeFd(directory)
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
