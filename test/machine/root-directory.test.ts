import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, statSync } from 'node:fs'
import t from 'tap'
import { NamespaceWorkers } from '../../daemon/linux/namespace-workers.ts'
import { PidRef } from '../../daemon/linux/process.ts'
import { Machine, NO_VSOCK_CID, type MachineClass } from '../../daemon/machine/machine.ts'
import { openRootDirectoryOf } from '../../daemon/machine/root-directory.ts'

function machine(machineClass: MachineClass, leader?: PidRef): Machine {
  return new Machine({
    name: 'm',
    class: machineClass,
    owner: 0,
    id: Buffer.alloc(0),
    service: '',
    rootDirectory: '',
    networkInterfaces: [],
    vsockCid: NO_VSOCK_CID,
    sshAddress: '',
    sshPrivateKeyPath: '',
    leader,
    supervisor: undefined
  })
}

const workers = new NamespaceWorkers()
t.teardown(() => {
  workers.close()
})

t.test('the root of the host and of a container is opened as a directory that can be read', async (t) => {
  using self = PidRef.pin(process.pid)
  for (const opened of [machine('host'), machine('container', self)]) {
    const fd = await openRootDirectoryOf(opened, workers)
    t.equal(fstatSync(fd).ino, statSync('/').ino)
    closeSync(fd)
  }
})

t.test('a virtual machine has none to open', async (t) => {
  await t.rejects(openRootDirectoryOf(machine('vm'), workers), {
    code: 'NotSupported',
    message: 'Opening the root directory is only supported on container machines.'
  })
})

t.test('a leader that is gone gives ESRCH, not the root of another process', async (t) => {
  const child = spawn('sleep', ['infinity'])
  using leader = PidRef.pin(child.pid ?? 0)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await t.rejects(openRootDirectoryOf(machine('container', leader), workers), {
    message: "Failed to open root directory of machine 'm': No such process"
  })
})
