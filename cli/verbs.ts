import { listMounts, mount, unmount } from './mount.ts'
import { network, networkHelp } from './network.ts'
import type { Verb } from './verb.ts'

/** All verbs, in the order of the help. A new one is a row here, and a word in what `completion/` and `machinectl` know. */
export const verbs: Readonly<Record<string, Verb>> = {
  mount: {
    group: 'Mount Commands',
    usage: 'NAME',
    help: 'Mount the root of a machine or image on the host',
    least: 1,
    most: 1,
    run: mount
  },
  umount: {
    group: 'Mount Commands',
    usage: 'NAME...',
    help: 'Take such mounts away',
    least: 1,
    most: Infinity,
    run: unmount
  },
  mounts: {
    group: 'Mount Commands',
    usage: '',
    help: 'List what is mounted',
    least: 0,
    most: 0,
    run: listMounts
  },
  network: {
    group: 'Network Commands',
    usage: '[COMMAND]',
    help: 'Show the networks of machines, or change them',
    words: networkHelp,
    least: 0,
    most: 5,
    run: network
  }
}
