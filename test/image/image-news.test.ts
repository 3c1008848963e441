import * as fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Discovery } from '../../daemon/image/discover.ts'
import { ImageNews } from '../../daemon/image/image-news.ts'
import type { Image } from '../../daemon/image/image.ts'
import type { ImagePlaces } from '../../daemon/image/places.ts'
import { mountThrowAwayDisk } from '../linux/throw-away-disk.ts'
import { ThrowAwayPool } from './throw-away-pool.ts'

const skip = process.getuid?.() === 0 ? false : 'needs root'
/** Several times what a search rests after the one before. */
const QUIET_MS = 1000

/** Counts how often all images are searched for. */
class CountedImages {
  readonly places: ImagePlaces
  searches = 0
  readonly #discovery: Discovery

  constructor(places: ImagePlaces) {
    this.places = places
    this.#discovery = new Discovery(places)
  }

  list(): Promise<readonly Image[]> {
    this.searches++
    return Promise.resolve(this.#discovery.list())
  }
}

t.test('what a search opens itself makes no search of it', { skip }, async (t) => {
  const pool = new ThrowAwayPool(mountThrowAwayDisk('btrfs', 200))
  const images = new CountedImages(pool.places)
  pool.sh('btrfs -q subvolume create volume; mkdir -p many.v/many_1 hidden; btrfs -q subvolume create ../etc/hidden')
  const told: string[] = []
  let isReady = false
  const news = new ImageNews(images)
  const stop = news.follow({
    tell: (kind, { name }) => told.push(`${kind} ${name}`),
    ready: () => {
      isReady = true
    }
  })
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await sleep(10)
  }
  const quiet = async (): Promise<void> => {
    for (let before = -1; before !== images.searches;) {
      before = images.searches
      await sleep(QUIET_MS)
    }
  }
  await until(() => isReady)
  await quiet()
  const before = images.searches
  fs.mkdirSync(join(pool.places.pool, 'one'))
  await until(() => told.includes('new one'))
  await quiet()
  t.ok(images.searches <= before + 4, 'one search for what has happened, and few to be sure')
  pool.sh('btrfs property set volume ro true')
  await until(() => told.includes('changed volume'))
  stop()
  pool.close()
})
