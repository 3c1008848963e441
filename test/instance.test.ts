import t from 'tap'
import { userInstance } from '../daemon/instance.ts'

const runtime = { XDG_RUNTIME_DIR: '/run/user/1' }

t.test("a user's instance lives in the user's runtime directory", (t) => {
  const instance = userInstance({ ...runtime, HOME: '/home/u' })
  t.match(instance, {
    bus: 'unix:path=/run/user/1/bus',
    stateDirectory: '/run/user/1/systemd/machines',
    socketDirectory: '/run/user/1/systemd',
    mountDirectory: '/run/user/1/machine',
    images: { pool: '/home/u/.local/state/machines' },
    user: process.getuid?.(),
    idleMs: 30_000
  })
  t.equal(userInstance({ ...runtime, DBUS_SESSION_BUS_ADDRESS: 'unix:path=/b' }).bus, 'unix:path=/b')
  t.end()
})

t.test('without such a directory there is no instance', (t) => {
  for (const environment of [{}, { XDG_RUNTIME_DIR: '' }, { XDG_RUNTIME_DIR: 'run' }]) {
    t.throws(() => userInstance(environment), /XDG_RUNTIME_DIR/)
  }
  t.end()
})

t.test('whether it exits when idle is for the environment to say', (t) => {
  for (const no of ['0', 'no', 'false', 'OFF']) {
    t.equal(userInstance({ ...runtime, SYSTEMD_EXIT_ON_IDLE: no }).idleMs, undefined)
  }
  for (const yes of ['', '1', 'yes']) t.equal(userInstance({ ...runtime, SYSTEMD_EXIT_ON_IDLE: yes }).idleMs, 30_000)
  t.equal(userInstance({ ...runtime, MACHINED_IDLE_MS: '50' }).idleMs, 50)
  t.end()
})
