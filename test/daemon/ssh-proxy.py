"""Asks systemd-ssh-proxy for a connection to a machine, as ssh does (ProxyUseFdpass in ssh_config(5)). Prints the path of
the socket that it gives and what is said there first, or what the proxy complains of."""
import array, socket, subprocess, sys

ours, theirs = socket.socketpair()
command = ["/usr/lib/systemd/systemd-ssh-proxy", sys.argv[1], "22"]
proxy = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
theirs.close()
_, rights, _, _ = ours.recvmsg(1, socket.CMSG_LEN(4))
print(proxy.communicate()[1].strip() or f"exit status {proxy.returncode}" if proxy.wait() else "", end="")
for _, _, data in rights:
    server = socket.socket(fileno=array.array("i", data)[0])
    print(server.getpeername(), server.recv(64).decode().strip(), end="")
