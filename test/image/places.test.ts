import t from 'tap'
import { userPlaces } from '../../daemon/image/places.ts'

t.test("a user's images are found below the directories of the environment", (t) => {
  const places = userPlaces('/home/u', { XDG_RUNTIME_DIR: '/run/user/1', XDG_STATE_HOME: '/state' })
  t.same(places.search, ['/run/user/1/machines', '/state/machines', '/home/u/.local/lib/machines'])
  t.equal(places.pool, '/state/machines')
  t.same(places.settings, [
    '/home/u/.config/systemd/nspawn',
    '/run/user/1/systemd/nspawn',
    '/home/u/.local/lib/systemd/nspawn'
  ])
  t.same(places.units, ['/home/u/.config/systemd/user'])
  t.end()
})

t.test('what the environment does not say, or not as an absolute path, is as by default', (t) => {
  const places = userPlaces('/home/u', { XDG_STATE_HOME: 'state' })
  t.same(places.search, ['/home/u/.local/state/machines', '/home/u/.local/lib/machines'])
  t.equal(places.pool, '/home/u/.local/state/machines')
  t.end()
})
