import type { Client } from './client.ts'

/** Where the system's images are. */
export const POOL = '/var/lib/machines'

/** A shell function that mounts a file. Loop devices go with the mount, and are the whole machine's: any may be free. */
export const MOUNT_FILE = `
mount_file() {
  for attempt in 1 2 3 4 5; do
    device=$(losetup -f); [ -e "$device" ] || mknod "$device" b 7 "\${device#/dev/loop}"
    mount -o loop "$1" "$2" && return
  done
  return 1
}`

/** Mounts an empty file system as the pool of a host, in place of the one that is there. */
export async function renewPool(client: Client, kind: 'ext4' | 'btrfs'): Promise<void> {
  const script = `${MOUNT_FILE}
    cd /; umount ${POOL} 2>/dev/null || true
    mkdir -p ${POOL}; rm -f /root/disk; truncate -s 300M /root/disk; mkfs."$1" -q /root/disk; mount_file /root/disk ${POOL}`
  await client.output('sh', '-euc', script, 'sh', kind)
}
