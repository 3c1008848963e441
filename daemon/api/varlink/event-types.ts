import { address, machineClass } from './machine-types.ts'
import { array, enumeration, field, integer, maybe, string, structure, type Fields } from './schema.ts'

export const topic = enumeration('EventTopic', 'What events are about.', {
  machines: 'Machines, the host among them.',
  images: 'Images in the directories where they are searched for.',
  operations: 'What takes long: copying into and out of machines, cloning, removing and cleaning images.'
})

const kind = enumeration('EventKind', 'What has happened.', {
  present: 'It was there when the subscription began.',
  ready: 'All that was there has been told of. What follows has just happened.',
  new: 'It has come or begun.',
  removed: 'It has gone.',
  state: 'The state of the machine is another.',
  addresses: 'An address of the machine has appeared or gone: these are all there are now.',
  changed: 'Something about the image is different, such as whether it can be written, or what is mounted there.',
  progress: 'The operation has come further. Not each step is told of.',
  finished: 'The operation has done what it was to do.',
  failed: 'The operation has come to nothing, or only to a part.'
})

const state = enumeration('MachineState', 'In which part of its life a machine is.', {
  opening: 'Its unit is being started.',
  running: 'It runs.',
  closing: 'It is being ended.'
})

const operationKind = enumeration('OperationKind', 'What an operation does.', {
  copy: 'Copies files between the host and a machine.',
  clone: 'Makes a copy of an image.',
  remove: 'Removes an image.',
  clean: 'Removes all images, or all that are hidden.'
})

const operation = structure('Operation', 'Something that takes long.', {
  id: field(integer, 'No other operation of the same daemon has it.'),
  kind: field(operationKind, 'What it does.'),
  bytes: field(integer, 'The bytes written so far.'),
  files: field(integer, 'The files, directories and the like that it is done with.')
})

export const eventTypes = [topic, kind, state, operationKind, operation, machineClass, address] as const

/** What is told of each time. */
export const eventFields: Fields = {
  sequence: field(integer, 'Counts the replies from 1. None is ever left out.'),
  event: field(kind, 'What has happened.'),
  machine: maybe(string, 'The machine that it is about.'),
  class: maybe(machineClass, 'What kind of machine it is.'),
  state: maybe(state, 'The state of the machine now, unless it has gone.'),
  addresses: maybe(array(address), 'The addresses of the machine now, best first, if it has a network of its own.'),
  image: maybe(string, 'The image that it is about.'),
  path: maybe(string, 'Where the image is.'),
  operation: maybe(operation, 'The operation that it is about, beside the machine or image that this works on.'),
  error: maybe(string, 'Why the operation failed, such as EEXIST.')
}
