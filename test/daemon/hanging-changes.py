"""A FUSE file system that answers what looks at its files, and nothing that reads or changes any. Arguments: where to
mount it, and whether that is a "file" or a "directory", which has a directory in it. Prints a line when it is there."""
import errno, os, stat, struct, subprocess, sys

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, GETXATTR, LISTXATTR = 1, 2, 3, 14, 15, 17, 18, 22, 23
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, BATCH_FORGET, STATX = 25, 26, 27, 28, 29, 34, 36, 42, 52
UNKNOWN = (GETXATTR, LISTXATTR, ACCESS, STATX, FLUSH)
DIRECTORY, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
point, kind = sys.argv[1:]
modes = {1: FILE if kind == "file" else DIRECTORY, 2: DIRECTORY}
names = {b"stuck_1": 2} if kind == "directory" else {}


def attributes(node):
    size = 0 if modes[node] == DIRECTORY else 1 << 24
    return struct.pack("<6Q10I", node, size, size >> 9, 0, 0, 0, 0, 0, 0, modes[node], 1, 0, 0, 0, 4096, 0)


def entries(offset):
    listed = list(names.items())[offset:]
    packed = (struct.pack("<QQII", node, offset + at, len(name), modes[node] >> 12) + name for at, (name, node) in enumerate(listed, 1))
    return b"".join(entry + bytes(-len(entry) % 8) for entry in packed)


def answer(opcode, node, data):
    if opcode == INIT:
        return struct.pack("<4I2H2I2H8I", 7, 31, 4096, 0, 16, 12, 65536, 1, 1, 0, *[0] * 8)
    if opcode == LOOKUP:
        found = names.get(data.rstrip(b"\0")) if node == 1 else None
        return errno.ENOENT if found is None else struct.pack("<4Q2I", found, 0, 0, 0, 0, 0) + attributes(found)
    if opcode == GETATTR:
        return struct.pack("<QII", 0, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("<QII", 0, 0, 0)
    if opcode == READDIR:
        return entries(struct.unpack_from("<8xQ", data)[0]) if node == 1 else b""
    if opcode == STATFS:
        return errno.EIO
    if opcode in (RELEASE, RELEASEDIR):
        return b""
    return errno.ENOSYS if opcode in UNKNOWN else None


fuse = os.open("/dev/fuse", os.O_RDWR)
common = f"fd={fuse},rootmode={modes[1]:o},user_id=0,group_id=0,allow_other"
subprocess.run(["mount", "-i", "-t", "fuse", "-o", common, "hang", point], check=True, pass_fds=[fuse])
print("mounted", flush=True)
while True:
    request = os.read(fuse, 1 << 20)
    opcode, unique, node = struct.unpack_from("<4xIQQ", request)
    reply = None if opcode in (FORGET, BATCH_FORGET, INTERRUPT) else answer(opcode, node, request[40:])
    if reply is None:
        continue
    error, body = (-reply, b"") if isinstance(reply, int) else (0, reply)
    os.write(fuse, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
