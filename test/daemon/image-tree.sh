# Makes machine images in the host it runs on, good, odd and broken ones: files, links, devices and file systems below the
# search directories of spec/dbus.md 8.1. $1 is where image files are made that are mounted or attached here.
set -eu
store=$1
mkdir -p "$store" /etc/machines /run/machines /var/lib/machines /var/lib/container /usr/local/lib/machines /usr/lib/machines
cd /var/lib/machines

# A tree with all that metadata is read from.
tree() {
  mkdir -p "$1/etc" "$1/usr/lib"
  printf 'NAME="Test %s"\nID=test\nVERSION_ID=1\n' "$1" >"$1/etc/os-release"
  echo "${2-host}" >"$1/etc/hostname"
  echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"
  printf 'PRETTY_HOSTNAME="A B"\nDEPLOYMENT=test\n' >"$1/etc/machine-info"
}

# Directories.
tree good
tree 'with blanks'
tree 'ümlaut'
tree under_score-dash.dot
tree .hidden
tree immutable && chattr +i immutable
tree foreign && chown 2147352576:2147352576 foreign
tree foreign-last && chown 2147418111 foreign-last
tree foreign-below && chown 2147352575 foreign-below
tree mode-0 && chmod 0 mode-0
mkdir empty
tree 123
tree "$(printf 'control\001char')"
tree "$(printf 'bytes\377')"
tree '.#temporary'
tree .sysupdate.partial

tree only.nspawn
tree "$(printf '%0100d' 7)"
tree both

tree crtime
setfattr_() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.crtime_usec", bytes.fromhex(sys.argv[2]))' "$@"; }
setfattr_ crtime 0040420f00000000 || :
tree crtime-odd
setfattr_ crtime-odd 4041 || :
tree crtime-zero
setfattr_ crtime-zero 0000000000000000 || :
tree crtime-future
setfattr_ crtime-future 0000000000000070 || :

# Raw files; none of these holds a file system.
truncate -s 1M sparse.raw
dd if=/dev/zero of=full.raw bs=4096 count=3 status=none
: >nothing.raw
truncate -s 8192 read-only.raw && chmod 444 read-only.raw
truncate -s 8192 write-only.raw && chmod 200 write-only.raw
truncate -s 8192 group-write.raw && chmod 464 group-write.raw
truncate -s 8192 immutable-file.raw && chattr +i immutable-file.raw
# What is encrypted is known by how it begins (LUKS, version 1).
printf 'LUKS\272\276\000\001' >luks.raw && truncate -s 4M luks.raw
truncate -s 8192 no-suffix
truncate -s 8192 wrong.img
truncate -s 8192 .raw
truncate -s 8192 .hidden-file.raw
truncate -s 8192 double.raw.raw
truncate -s 8192 foreign-file.raw && chown 2147352576 foreign-file.raw
truncate -s 8192 crtime-file.raw && setfattr_ crtime-file.raw 0040420f00000000
touch -d @1000000000.5 -- sparse.raw

# Links.
tree elsewhere && mv elsewhere "$store/elsewhere"
truncate -s 12288 "$store/disk.raw" "$store/disk.img"
ln -s "$store/elsewhere" linked
ln -s "$store/elsewhere" linked.raw
ln -s "$store/disk.raw" linked-file.raw
ln -s "$store/disk.img" other-suffix.raw
ln -s "$store/disk.raw" other-name
ln -s "$store/nowhere" dangling
ln -s "$store/nowhere" dangling.raw

ln -s good alias
ln -s linked twice
ln -s / root
ln -s ../../../../usr vendor-link
ln -s /dev/null null-link
ln -s "$store/elsewhere" /etc/machines/from-etc
ln -s "$store/disk.raw" /run/machines/from-run.raw

# Files of other kinds.
mkfifo fifo fifo.raw
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket.raw")'
mknod char.raw c 1 3

# The same name in several places.
for directory in /etc/machines /run/machines /var/lib/container /usr/local/lib/machines /usr/lib/machines; do
  cd "$directory"
  tree everywhere
  tree "in-$(basename "$(dirname "$directory")")"
done
cd /var/lib/machines
tree everywhere
ln -s "$store/nowhere" /etc/machines/masked && tree masked
: >/etc/machines/masked-by-file && tree masked-by-file
: >/etc/machines/masked-raw.raw && tree masked-raw
ln -s /dev/null /etc/machines/masked-by-null && tree masked-by-null

# Versioned directories.
mkdir versions.v && (cd versions.v && tree versions_1 && tree versions_2.0~rc1 && tree versions_2.0 && tree versions_2 && tree other_9)
arch=$(uname -m | sed 's/_/-/; s/aarch64/arm64/')
mkdir arch.v && (cd arch.v && tree arch_1 && tree "arch_2_$arch" && tree arch_3_s390x && tree arch_4_nonsense)
mkdir tries.raw.v && (cd tries.raw.v && for name in tries_1.raw tries_2+3.raw tries_3+0-3.raw tries_4+0.raw tries_5; do truncate -s 4096 "$name"; done)
mkdir exhausted.raw.v && (cd exhausted.raw.v && for name in exhausted_1+0.raw exhausted_2+0-1.raw; do truncate -s 4096 "$name"; done)
mkdir none.v && (cd none.v && tree other_1)
mkdir empty.v empty.raw.v
mkdir kinds.raw.v && (cd kinds.raw.v && tree kinds_1.raw && truncate -s 4096 kinds_0.raw && mkfifo kinds_2.raw)
mkdir links.v && ln -s "$store/elsewhere" links.v/links_1 && ln -s "$store/nowhere" links.v/links_2
mkdir .hidden-versions.v && (cd .hidden-versions.v && tree .hidden-versions_1)
truncate -s 4096 file.v file.raw.v
mkdir nested.v nested.v/nested_1.v && (cd nested.v/nested_1.v && tree nested_1_2)
mkdir "$store/there.v" && (cd "$store/there.v" && tree linked-versions_1 && tree there_2) && ln -s "$store/there.v" linked-versions.v
mkdir letters.v && (cd letters.v && for v in 1a 1b 1-1 1.1 1^x 1~x 01 10 9 1.0.0; do tree "letters_$v"; done)

# Mount stacks.
mkdir stack.mstack stack.mstack/rw stack.mstack/layer@0 && (cd stack.mstack && tree layer@0)
mkdir stack-ro.mstack stack-ro.mstack/layer@0
mkdir stack-empty.mstack
mkdir stack-odd.mstack stack-odd.mstack/nonsense
mkdir stack-root.mstack stack-root.mstack/root
mkdir stack-versions.mstack.v stack-versions.mstack.v/stack-versions_1.mstack stack-versions.mstack.v/stack-versions_1.mstack/rw
truncate -s 4096 file.mstack
mkdir linked-stack && mv linked-stack "$store/stack" && ln -s "$store/stack" linked-stack.mstack

# Metadata that is odd.
tree no-hostname && rm no-hostname/etc/hostname
tree many-lines && printf '# comment\n\n  \nfirst-line\nsecond\n' >many-lines/etc/hostname
tree bad-hostname 'not a host name!'
tree wild-hostname 'node-????'
tree dots-hostname '.a..b.'
tree long-hostname "$(printf '%070d' 1)"
tree upper-id && echo 0123456789ABCDEF0123456789ABCDEF >upper-id/etc/machine-id
tree dashed-id && echo 01234567-89ab-cdef-0123-456789abcdef >dashed-id/etc/machine-id
tree short-id && echo 0123 >short-id/etc/machine-id
tree zero-id && echo 00000000000000000000000000000000 >zero-id/etc/machine-id
tree no-newline-id && printf 0123456789abcdef0123456789abcdef >no-newline-id/etc/machine-id
tree uninitialized && echo uninitialized >uninitialized/etc/machine-id
tree two-ids && printf '0123456789abcdef0123456789abcdef\nx\n' >two-ids/etc/machine-id
tree usr-release && mv usr-release/etc/os-release usr-release/usr/lib/os-release
tree link-release && rm link-release/etc/os-release && ln -s /usr/lib/os-release link-release/etc/os-release && echo NAME=inside >link-release/usr/lib/os-release
tree link-out && rm link-out/etc/os-release && ln -s ../../../../../../etc/os-release link-out/etc/os-release
tree empty-release && : >empty-release/etc/os-release
tree bad-release && printf 'NAME=a\nNAME=b\nnonsense\nlower=1\n=x\nA="unclosed\nB=c\n' >bad-release/etc/os-release
tree directory-release && rm directory-release/etc/os-release && mkdir directory-release/etc/os-release
tree bytes-release && printf 'NAME=a\377b\nID=c\n' >bytes-release/etc/os-release
tree bad-info && printf 'KEY=a b c\nOTHER=\\x41\n#C=d\n;D=e\nE="x\\ny"\n F = g \nexport G=h\nI=j # k\n' >bad-info/etc/machine-info
tree link-etc && mv link-etc/etc link-etc/real && ln -s /real link-etc/etc

# File systems of their own: what is read-only, and btrfs with subvolumes.
mkdir "$store/ro" && mount -t tmpfs images "$store/ro"
tree on-read-only && mv on-read-only "$store/ro/tree" && truncate -s 4096 "$store/ro/disk.raw" && mknod "$store/ro/block" b 61 0
ln -s "$store/ro/tree" on-read-only && ln -s "$store/ro/disk.raw" on-read-only-file.raw && ln -s "$store/ro/block" on-read-only-block
mount -o remount,ro "$store/ro"
truncate -s 200M "$store/btrfs.disk" && mkfs.btrfs -q "$store/btrfs.disk" && mkdir "$store/btrfs" && mount -o loop "$store/btrfs.disk" "$store/btrfs"
for name in volume volume-ro volume-limited volume-foreign; do
  btrfs -q subvolume create "$store/btrfs/$name"
  ln -s "$store/btrfs/$name" "$name"
done
mkdir "$store/btrfs/directory" && ln -s "$store/btrfs/directory" btrfs-directory
chown 2147352576 "$store/btrfs/volume-foreign"
dd if=/dev/zero of="$store/btrfs/volume-limited/file" bs=64k count=3 status=none
btrfs -q property set "$store/btrfs/volume-ro" ro true
btrfs -q quota enable "$store/btrfs" && btrfs -q quota rescan -w "$store/btrfs"
btrfs -q qgroup limit 20M "$store/btrfs/volume-limited"
btrfs -q qgroup limit -e 10M "$store/btrfs/volume-limited"
sync -f "$store/btrfs" && btrfs -q quota rescan -w "$store/btrfs"

# Block devices: one of size, one that is read-only, nodes without a device.
ln -s "$(losetup --find --show "$store/disk.raw")" block
ln -s "$(losetup --find --show --read-only "$store/disk.img")" block-ro
mknod no-device b 61 1
mknod no-write-bit b 61 2 && chmod 444 no-write-bit

# Disk images. Nodes of partitions are made by the kernel, in a directory that the host sees no other file of.
mkdir -p "$store/devices" && mount -t devtmpfs devices "$store/devices" && mount -o remount,bind,ro "$store/devices"
for number in $(seq 0 31); do ln -sf "$store/devices/loop${number}p1" "$store/devices/loop${number}p2" /dev/; done
tree content && mv content "$store/content"
mksquashfs "$store/content" squash.raw -quiet -noappend >/dev/null
ln -s "$store/squash.img" squash-link.raw && cp squash.raw "$store/squash.img"
mkdir "$store/nothing" && mksquashfs "$store/nothing" squash-empty.raw -quiet -noappend >/dev/null
ext4() { mke2fs -q -t ext4 -d "$store/content" "$@"; }
truncate -s 40M ext4.raw && ext4 ext4.raw
gpt() { truncate -s 40M "$1" && printf 'label: gpt\n%s\n' "$2" | sfdisk -q "$1"; }
case $(uname -m) in
  aarch64) root=b921b045-1df0-41c3-af44-4c6f280d3fae ;;
  *) root=4f68bce3-e8cd-4db1-96e7-fbcaf984b709 ;;
esac
gpt gpt.raw "size=32M, type=$root" && ext4 -E offset=1048576 gpt.raw 32M
gpt gpt-generic.raw 'size=32M, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4' && ext4 -E offset=1048576 gpt-generic.raw 32M
gpt gpt-other.raw 'size=8M, type=3B8F8425-20E0-4F3B-907F-1A25A76F98E8'
gpt gpt-unformatted.raw "size=8M, type=$root"
head -c 300 squash.raw >torn.raw && head -c 30000 /dev/zero >>torn.raw
truncate -s 40M swap.raw && chmod 600 swap.raw && mkswap swap.raw >/dev/null
