import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'
import { Client } from './client.ts'
import { callOne } from './varlink-client.ts'

const M = 'io.systemd.Machine'
const EXPORTED = '/run/systemd/nspawn/box/unix-export/ssh'
const PROXY = readFileSync(join(projectDirectory(), 'test/daemon/ssh-proxy.py'), 'utf8')
/** Stands for a container's sshd. */
const SERVER = `
import os, socket
server = socket.socket(socket.AF_UNIX)
os.makedirs(os.path.dirname("${EXPORTED}"))
server.bind("${EXPORTED}")
server.listen()
while True:
    peer, _ = server.accept()
    peer.sendall(b"SSH-2.0-test\\r\\n")
    peer.close()`

async function registerBoth(host: TestHost, client: Client): Promise<void> {
  const machines = [
    { name: 'virtual', class: 'vm', service: 'systemd-vmspawn', vSockCid: 7777, sshAddress: 'vsock/7777' },
    { name: 'box', class: 'container', service: 'systemd-nspawn' }
  ]
  for (const machine of machines) {
    const leader = Number(await client.startProcess(machine.name))
    await callOne(host, `${M}.Register`, { ...machine, leader })
  }
}

/** What ssh would get for `ssh machine/NAME`. */
async function connect(host: TestHost, name: string): Promise<string> {
  const environment = 'XDG_RUNTIME_DIR=/run/user/0'
  return (await host.run(['env', environment, 'python3', '-c', PROXY, `machine/${name}`])).stdout
}

t.test('the proxy of systemd 257 asks for the AF_VSOCK address of a virtual machine', async (t) => {
  const host = await TestHost.start()
  t.teardown(() => host.stop())
  await registerBoth(host, new Client(host))
  // There is nobody at the other end; that it tries there shows what it was told.
  t.match(await connect(host, 'virtual'), 'Failed to connect to vsock:7777:22')
  t.match(await connect(host, 'box'), 'Machine has no AF_VSOCK CID assigned.')
  t.match(await connect(host, 'nobody'), `${M}.NoSuchMachine`)
})

t.test('the proxy of systemd 262 asks the daemon of the user and of the system', async (t) => {
  const host = await TestHost.start({ root: 'testing' })
  t.teardown(() => host.stop())
  await registerBoth(host, new Client(host))
  // It gives up where there is no socket of the user's.
  await host.run(['loginctl', 'enable-linger', 'root'])
  await host.waitFor(async () => {
    const socket = '/run/user/0/systemd/machine/io.systemd.Machine'
    return (await host.run(['test', '-S', socket], { reject: false })).exitCode === 0
  }, "the socket of root's own daemon")
  t.match(await connect(host, 'virtual'), 'Failed to connect to vsock:7777:22')
  host.spawn(['python3', '-c', SERVER])
  await host.waitFor(async () => (await connect(host, 'box')) === `${EXPORTED} SSH-2.0-test`, 'the server to answer')
  t.match(await connect(host, 'nobody'), /^exit status 1$/)
  t.match(await connect(host, '.host'), "Don't know how to SSH into machine .host with class 'host'.")
})
