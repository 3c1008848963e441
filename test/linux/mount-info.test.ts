import t from 'tap'
import { parseMountInfo, readMounts } from '../../daemon/linux/mount-info.ts'

t.test('mounts are read, with names as they are', (t) => {
  const text = [
    '22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/root rw',
    String.raw`30 22 0:33 /x /run/a\040b\134\303\274\012 ro,nosuid - tmpfs tmpfs rw`,
    'garbage',
    ''
  ].join('\n')
  t.strictSame(parseMountInfo(text), [
    { id: 22, device: '0:20', mountPoint: '/', readOnly: false, fileSystem: 'ext4' },
    { id: 30, device: '0:33', mountPoint: '/run/a b\\ü\n', readOnly: true, fileSystem: 'tmpfs' }
  ])
  t.match(readMounts()[0], { id: Number, mountPoint: /^\// })
  t.end()
})
