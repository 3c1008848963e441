import { call, type Conversation } from './varlink-client.ts'

const I = 'io.systemd.MachineImage'
const more = { more: true }
const most = '18446744073709551615'
const tooMuch = '9223372036854775808'

function one(method: string, parameters?: unknown, flags?: object): Conversation {
  return { messages: [call(`${I}.${method}`, parameters, flags)] }
}

/** Makes the images that the conversations are about, as a shell command. */
export const MAKE_IMAGES = `
  cd /var/lib/machines; mkdir -p told/etc .hidden other
  echo told-host >told/etc/hostname; echo 0123456789abcdef0123456789abcdef >told/etc/machine-id
  echo 'PRETTY_HOSTNAME="some told"' >told/etc/machine-info; echo 'ID=some' >told/etc/os-release
  rm -f raw.raw; truncate -s 1M raw.raw`

/** What is said of images and done to them, one after the other (spec/varlink-and-clients.md D4, A16). */
export const imageVectors: Record<string, Conversation> = {
  'list without more': one('List'),
  'list of all': { ...one('List', {}, more), replies: 5 },
  'list of one': one('List', { name: 'told' }, more),
  'list of a disk': one('List', { name: 'raw' }),
  'list with metadata': one('List', { name: 'told', acquireMetadata: 'yes' }),
  'list of the host with metadata': one('List', { name: '.host', acquireMetadata: 'yes' }),
  'list of a hidden one with metadata': one('List', { name: '.hidden', acquireMetadata: 'yes' }),
  'list of a disk with what can be had': one('List', { name: 'raw', acquireMetadata: 'graceful' }),
  'list of a disk of nothing with metadata': one('List', { name: 'raw', acquireMetadata: 'yes' }),
  'list with a wrong enumeration': one('List', { acquireMetadata: 'x' }),
  'list of a temporary name': one('List', { name: '.#x' }),
  'list of an empty name': one('List', { name: '' }),
  'list of a path': one('List', { name: 'a/b' }),
  'list of one that is not there': one('List', { name: 'nope' }, more),
  'update nothing': one('Update', {}),
  'update one that is not there': one('Update', { name: 'nope' }),
  'update without a change': one('Update', { name: 'told' }),
  'update to a bad name': one('Update', { name: 'told', newName: '.#' }),
  'update to a name that is taken': one('Update', { name: 'told', newName: 'other', readOnly: true, limit: 5 }),
  'update to the same name': one('Update', { name: 'told', newName: 'told' }),
  "update to the host's name": one('Update', { name: 'told', newName: '.host' }),
  'update to a limit as text': one('Update', { name: 'told', limit: 'infinity' }),
  'update to a negative limit': one('Update', { name: 'told', limit: -1 }),
  'update to a high limit': one('Update', { name: 'told', limit: tooMuch }),
  'update to a limit': one('Update', { name: 'told', limit: 5 }),
  'update to the limit it has': one('Update', { name: 'told', limit: most }),
  'update by a wrong flag': one('Update', { name: 'told', readOnly: 'yes' }),
  'update by null': one('Update', { name: 'told', readOnly: null }),
  "update the host's flag": one('Update', { name: '.host', readOnly: true }),
  "update the host's name": one('Update', { name: '.host', newName: 'x' }),
  "update the host's limit": one('Update', { name: '.host', limit: 5 }),
  "update a hidden one's flag": one('Update', { name: '.hidden', readOnly: true }),
  'update all, the limit in vain': one('Update', { name: 'told', newName: 'new', readOnly: true, limit: 5 }),
  'list after an update': one('List', { name: 'new' }),
  'update back': one('Update', { name: 'new', newName: 'told', readOnly: false }),
  'clone to no name': one('Clone', { name: 'told' }),
  'clone one that is not there': one('Clone', { name: 'nope', newName: 'x' }),
  'clone to a bad name': one('Clone', { name: 'told', newName: '.#x' }),
  'clone to a name that is taken': one('Clone', { name: 'told', newName: 'other' }),
  'clone the host to a name that is taken': one('Clone', { name: '.host', newName: 'other' }),
  clone: one('Clone', { name: 'told', newName: 'copy', readOnly: true }, more),
  'list of the clone': one('List', { name: 'copy', acquireMetadata: 'yes' }),
  'clone more writable': one('Clone', { name: 'copy', newName: 'second' }),
  'list of its clone': one('List', { name: 'second' }),
  'remove nothing': one('Remove', {}),
  'remove one that is not there': one('Remove', { name: 'nope' }),
  'remove the host': one('Remove', { name: '.host' }),
  remove: one('Remove', { name: 'copy' }),
  'list of what was removed': one('List', { name: 'copy' }),
  'limit the pool by nothing': one('SetPoolLimit', {}),
  'limit the pool by text': one('SetPoolLimit', { limit: 'infinity' }),
  'limit the pool by too much': one('SetPoolLimit', { limit: tooMuch }),
  'limit the pool by less than nothing': one('SetPoolLimit', { limit: -1 }),
  'limit the pool not at all': one('SetPoolLimit', { limit: most }),
  'limit the pool': one('SetPoolLimit', { limit: 5 }),
  'clean without more': one('CleanPool', { mode: 'hidden' }),
  'clean without a mode': one('CleanPool', {}, more),
  'clean in a wrong mode': one('CleanPool', { mode: 'x' }, more),
  'clean hidden ones': one('CleanPool', { mode: 'hidden' }, more),
  'clean hidden ones again': one('CleanPool', { mode: 'hidden' }, more),
  'clean all': { ...one('CleanPool', { mode: 'all' }, more), replies: 4 },
  'clean all again': one('CleanPool', { mode: 'all' }, more),
  'list of what is left': one('List', {}, more)
}
