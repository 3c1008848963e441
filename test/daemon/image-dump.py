"""Prints all that a daemon says of machine images: lists, properties, metadata, errors. Arguments: names to ask for besides."""

import json
import subprocess
import sys

NAME = "org.freedesktop.machine1"
PATH = "/org/freedesktop/machine1"
MANAGER = NAME + ".Manager"
IMAGE = NAME + ".Image"


def run(*argv):
    done = subprocess.run(argv, capture_output=True)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace").strip()


def call(path, interface, member, *strings):
    """What busctl prints, or name and text of the error."""
    signature = ["s" * len(strings)] if strings else []
    code, text = run("busctl", "call", NAME, path, interface, member, *signature, *strings)
    if code == 0:
        return text
    arguments = ["string:" + string for string in strings]
    return run("dbus-send", "--system", "--print-reply", "--dest=" + NAME, path, f"{interface}.{member}", *arguments)[1]


def listed():
    code, text = run("busctl", "--json=short", "call", NAME, PATH, MANAGER, "ListImages")
    if code != 0:
        sys.exit(text)
    return sorted(json.loads(text)["data"][0])


def show(name, path):
    print("==", name)
    print(call(PATH, MANAGER, "GetImage", name))
    print(call(path, "org.freedesktop.DBus.Properties", "GetAll", IMAGE))
    for member in ["Hostname", "MachineID", "MachineInfo", "OSRelease"]:
        print(member, call(PATH, MANAGER, "GetImage" + member, name))
    print(call(path, IMAGE, "GetOSRelease"))


def escape(name):
    kept = lambda at, byte: chr(byte).isalnum() and byte < 128 and not (at == 0 and chr(byte).isdigit())
    return "".join(chr(b) if kept(at, b) else f"_{b:02x}" for at, b in enumerate(name.encode())) or "_"


rows = listed()
for row in rows:
    print(json.dumps(row, ensure_ascii=False))
nodes = call(PATH + "/image", "org.freedesktop.DBus.Introspectable", "Introspect").replace("\\n", "\n").split("\n")
print(*sorted(nodes), sep="\n")
for name in [row[0] for row in rows] + sys.argv[1:]:
    show(name, f"{PATH}/image/{escape(name)}")
