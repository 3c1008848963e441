import type { Call } from './verb.ts'

const INTERFACE = 'io.machined.Mount'

/** `mount NAME`: prints where. */
export async function mount({ args: [name = ''], options, daemon, output }: Call): Promise<void> {
  const request = { interface: INTERFACE, member: 'Mount', signature: 'sbb' }
  const body = [name, options.readOnly, options.recursive]
  const [point] = await daemon.call('mount', request, body)
  output.fields({ mount_point: point as string }, { mount_point: 'Mount point' })
}

/** `umount NAME...` */
export async function unmount({ args, options, daemon }: Call): Promise<void> {
  for (const name of args) {
    await daemon.call('unmount', { interface: INTERFACE, member: 'Unmount', signature: 'sb' }, [name, options.lazy])
  }
}

/** `mounts` */
export async function listMounts({ daemon, output }: Call): Promise<void> {
  const request = { interface: INTERFACE, member: 'ListMounts' }
  const [mounts] = (await daemon.call('list mounts', request)) as [[string, string, boolean][]]
  const rows = mounts.map(([name, mount_point, read_only]) => ({ name, mount_point, read_only }))
  output.table(rows, { name: 'NAME', mount_point: 'MOUNT POINT', read_only: 'READ-ONLY' }, 'mounts')
}
