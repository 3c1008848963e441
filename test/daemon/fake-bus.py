"""A bus that is none: listens at argv[1] and treats whoever connects as argv[2] says."""
import os, socket, struct, sys

path, mode = sys.argv[1:]
SIGNAL, ERROR, RETURN = 4, 3, 2


def message(kind, serial, fields, body=b'', announced=None):
    """A little-endian message; fields are (code, type, value)."""
    header = b''
    for code, type_, value in fields:
        header += b'\0' * (-len(header) % 8) + bytes([code, 1]) + type_.encode() + b'\0'
        if type_ == 'u':
            header += struct.pack('<I', value)
        elif type_ == 'g':
            header += bytes([len(value)]) + value.encode() + b'\0'
        else:
            header += struct.pack('<I', len(value)) + value.encode() + b'\0'
    length = len(body) if announced is None else announced
    start = struct.pack('<cBBBIII', b'l', kind, 1, 1, length, serial, len(header))
    return start + header + b'\0' * (-len(header) % 8) + body


HELLO = message(RETURN, 1, [(5, 'u', 1), (6, 's', ':1.7'), (8, 'g', 's')], struct.pack('<I', 4) + b':1.7\0')
WORDLESS = message(ERROR, 2, [(4, 's', 'com.example.Wordless'), (5, 'u', 2)])
NOISE = message(SIGNAL, 2, [(1, 'o', '/a'), (2, 's', 'com.example.A'), (3, 's', 'Noise')])
HUGE = message(SIGNAL, 2, [(1, 'o', '/a'), (2, 's', 'com.example.A'), (3, 's', 'Huge'), (8, 'g', 'ay')], b'', 2**26)


def serve(peer):
    if mode == 'silent':
        peer.recv(1)
        while peer.recv(65536):
            pass
    if mode == 'garbage':
        peer.sendall(os.urandom(65536))
    if mode == 'endless line':
        while True:
            peer.sendall(b'x' * 65536)
    if mode == 'stranger':
        peer.sendall(b'REJECTED EXTERNAL\r\n')
    if mode == 'no descriptors':
        peer.sendall(b'OK 0123\r\nERROR\r\n' + HELLO)
    peer.sendall(b'OK 0123\r\nAGREE_UNIX_FD\r\n')
    if mode == 'huge message':
        peer.sendall(HUGE)
        while True:
            peer.sendall(b'x' * 65536)
    peer.sendall(HELLO)
    if mode == 'flood':
        while True:
            peer.sendall(NOISE * 1000)
    if mode == 'descriptors':
        while True:
            socket.send_fds(peer, [NOISE], [0] * 250)
    if mode == 'hang-up':
        return
    # Till the call has come.
    while b'StartTransientUnit' not in peer.recv(65536):
        pass
    if mode == 'wordless':
        peer.sendall(WORDLESS)
    while peer.recv(65536):
        pass


server = socket.socket(socket.AF_UNIX)
server.bind(path)
os.chmod(path, 0o666)
server.listen()
print('ready', flush=True)
while True:
    peer, _ = server.accept()
    try:
        serve(peer)
    except OSError:
        pass
    peer.close()
