"""A process whose root directory is a FUSE file system with a few files in it; it serves them itself, in a child. Run in a
mount namespace of its own; prints a line when it is ready. Arguments: where to mount, the options of the mount. With another
path an overlay of it is mounted there and is the root directory, and what is said of files holds for no time."""
import errno, os, stat, struct, subprocess, sys

FILES = {"etc": {"os-release": b"ID=fuse\n", "token": b"fuse\n"}, "usr": {}, "proc": {}, "sys": {}, "dev": {}}
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 17, 18, 25, 26
OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 27, 28, 29, 36, 42
FOREVER = 1 << 30
nodes = [None, FILES]
numbers = {id(FILES): 1}


def number_of(node):
    if id(node) not in numbers:
        numbers[id(node)] = len(nodes)
        nodes.append(node)
    return numbers[id(node)]


def mode_of(node):
    return stat.S_IFDIR | 0o755 if isinstance(node, dict) else stat.S_IFREG | 0o644


def attributes(number):
    node = nodes[number]
    return struct.pack("<6Q10I", number, len(node), 0, 0, 0, 0, 0, 0, 0, mode_of(node), 1, 0, 0, 0, 4096, 0)


def entries(node, offset):
    found = b""
    for index, (name, child) in enumerate(list(node.items())[offset:], offset + 1):
        text = name.encode()
        found += struct.pack("<QQII", number_of(child), index, len(text), mode_of(child) >> 12) + text
        found += bytes(-len(text) % 8)
    return found


def answer(opcode, number, data):
    node = nodes[number] if number < len(nodes) else None
    if opcode == INIT:
        return struct.pack("<4I2H2I2H8I", 7, 31, 4096, 0, 16, 12, 65536, 1, 1, 0, *[0] * 8)
    if opcode == LOOKUP:
        child = node.get(data.rstrip(b"\0").decode())
        if child is None:
            return errno.ENOENT
        return struct.pack("<4Q2I", number_of(child), 0, FOREVER, validity, 0, 0) + attributes(number_of(child))
    if opcode == GETATTR:
        return struct.pack("<QII", validity, 0, 0) + attributes(number)
    if opcode == STATFS:
        return struct.pack("<5Q3I28x", 0, 0, 0, 0, 0, 4096, 255, 4096)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("<QII", 0, 0, 0)
    if opcode in (READ, READDIR):
        offset, size = struct.unpack_from("<8xQI", data)
        return node[offset : offset + size] if opcode == READ else entries(node, offset)
    return b"" if opcode in (RELEASE, RELEASEDIR, FLUSH) else errno.ENOSYS


def serve(fuse):
    while True:
        request = os.read(fuse, 1 << 20)
        opcode, unique, number = struct.unpack_from("<4xIQQ", request)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            continue
        reply = answer(opcode, number, request[40:])
        error, body = (-reply, b"") if isinstance(reply, int) else (0, reply)
        os.write(fuse, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


point, options, *overlay = sys.argv[1:]
validity = 0 if overlay else FOREVER
fuse = os.open("/dev/fuse", os.O_RDWR)
common = f"fd={fuse},rootmode=40000,user_id=0,group_id=0"
subprocess.run(["mount", "-i", "-t", "fuse", "-o", f"{common},{options}", "fuse", point], check=True, pass_fds=[fuse])
if os.fork() == 0:
    try:
        serve(fuse)
    except OSError:
        os._exit(0)
for top in overlay:
    lower = f"lowerdir={point}:/mnt"
    subprocess.run(["mount", "-t", "overlay", "-o", lower, "overlay", top], check=True)
os.chroot(*(overlay or [point]))
os.chdir("/")
print("ready", flush=True)
while True:
    os.wait()
