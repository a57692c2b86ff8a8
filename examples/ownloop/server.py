"""Two daemons, a socket and a timer in one loop of the program's own."""

import select
import socket
import time

import gpyro.core

seconds = 0


class Uptime(gpyro.core.ObjBase):
    def read(self):
        return seconds


class Stopper(gpyro.core.ObjBase):
    running = True

    def stop(self):
        self.running = False


gpyro.core.initServer()
uptime, stopper = Uptime(), Stopper()
daemons = [gpyro.core.Daemon(), gpyro.core.Daemon()]
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", 0))

print(daemons[0].connect(uptime, "uptime"))
print(daemons[1].connect(stopper, "stopper"))
print("datagrams to port", datagrams.getsockname()[1], flush=True)

began = time.monotonic()
while stopper.running:
    sockets = [datagrams]
    for daemon in daemons:
        sockets += daemon.getServerSockets()  # asked for again in each round
    readable, _, _ = select.select(sockets, [], [], 1)
    seconds = int(time.monotonic() - began)
    if datagrams in readable:
        print("received", datagrams.recv(1000).decode(), flush=True)
    for daemon in daemons:
        if any(sock in readable for sock in daemon.getServerSockets()):
            daemon.handleRequests(0)

for daemon in daemons:
    daemon.stop()
print("stopped")
