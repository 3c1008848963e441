# Lists a tree for comparison: one line for each file, with all that a copy keeps. Run inside test hosts.
import hashlib, os, stat, sys

def line(path, name, numbers):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    numbers.setdefault((st.st_dev, st.st_ino), len(numbers))
    what = [name, oct(st.st_mode), st.st_uid, st.st_gid, 0 if stat.S_ISDIR(kind) else st.st_nlink]
    what += [numbers[st.st_dev, st.st_ino], st.st_mtime_ns, st.st_rdev]
    if stat.S_ISLNK(kind):
        what.append(os.readlink(path))
    else:
        what.append([(key, os.getxattr(path, key)) for key in sorted(os.listxattr(path)) if not key.startswith('trusted.overlay.')] if kind in (stat.S_IFREG, stat.S_IFDIR) else [])
    if stat.S_ISREG(kind):
        what += [st.st_size, hashlib.sha256(open(path, 'rb').read()).hexdigest()[:16]]
    print(*what)

root, numbers = sys.argv[1], {}
line(root, '.', numbers)
for top, directories, files in os.walk(root):
    directories.sort()
    for name in sorted(directories + files):
        line(os.path.join(top, name), os.path.relpath(os.path.join(top, name), root).encode('unicode_escape').decode(), numbers)
