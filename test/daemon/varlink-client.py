"""Talks Varlink as told on standard input: a JSON array of conversations, each with a socket's path, the messages to send as
they are, and how many replies to wait for. Prints a JSON array with the replies of each, in which "closed" stands for the
end of the connection."""
import array, json, os, socket, sys


def converse(path, messages, replies, half_close=False, send_fd=False, **_):
    got = []
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(path)
        try:
            data = "".join(message + "\0" for message in messages).encode("utf-8", "surrogateescape")
            if send_fd:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))
                peer.sendmsg([data], [rights])
            else:
                peer.sendall(data)
            if half_close:
                peer.shutdown(socket.SHUT_WR)
            rest = b""
            while len(got) < replies:
                chunk, ancillary, _, _ = peer.recvmsg(65536, socket.CMSG_SPACE(64))
                for _, _, fds in ancillary:
                    for fd in array.array("i", fds):
                        got.append("fd " + os.readlink(f"/proc/self/fd/{fd}"))
                        os.close(fd)
                if not chunk:
                    got.append("closed")
                    break
                *whole, rest = (rest + chunk).split(b"\0")
                got += [json.loads(text) for text in whole]
        except socket.timeout:
            got.append("silent")
        except (ConnectionError, PermissionError):
            # Since Linux 6.16 a socket can forbid its peer to send descriptors.
            got.append("closed")
    return got


conversations = json.load(sys.stdin)
print(json.dumps([converse(**one) for one in conversations]))
