"""Talks to both daemons and to the socket.

python client.py URI-OF-UPTIME URI-OF-STOPPER DATAGRAM-PORT
"""

import socket
import sys

import gpyro.core

gpyro.core.initClient()
uptime, stopper = gpyro.core.getProxyForURI(sys.argv[1]), gpyro.core.getProxyForURI(sys.argv[2])
print("it is up, for seconds:", uptime.read() >= 0)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(b"good morning", ("127.0.0.1", int(sys.argv[3])))
stopper.stop()
