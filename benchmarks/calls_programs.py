"""The programs of `calls.py`: for each kind a server, and a client with a function for each row.

A function of a row does so much work as it is asked for, and gives how much it has done.
"""

from __future__ import annotations

PINNED = """
import os, sys, time
if sys.argv[1] != "None":
    os.sched_setaffinity(0, {int(sys.argv[1])})
"""

ASKED = """
for line in sys.stdin:
    row, count = line.split()
    began = time.perf_counter()
    done = globals()[row](int(count))
    assert done == int(count), done
    print(int(count) / (time.perf_counter() - began), flush=True)
"""

SERVERS = {
    "gpyro": """
from gpyro import core
class Source(core.ObjBase):
    def numbers(self, count):
        return (number for number in range(count))
    def total(self, numbers):
        return sum(1 for _ in numbers)
    def echo(self, value):
        return value
    def echo_array(self, value):
        value.flags.writeable = False  # so that it need not be copied before it is sent
        return value
import numpy
daemon = core.Daemon(host="localhost", port=0, norange=1)
print(daemon.connect(Source(), "source"), flush=True)
daemon.requestLoop()
""",
    "bare": """
from gevent.server import StreamServer
def serve(connection, address):
    kind = connection.recv(1)
    if kind == b"e":
        return echo(connection)
    file = connection.makefile("rwb", buffering=65536)
    while line := file.readline():
        for number in range(int(line)):
            file.write(b"%d\\n" % number)
        file.flush()
def read(connection, size):
    body = bytearray(size)
    view = memoryview(body)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return body
def echo(connection):
    try:
        while True:
            head = read(connection, 8)
            body = read(connection, int.from_bytes(head, "big"))
            connection.sendall(head)
            connection.sendall(body)
    except EOFError:
        pass
server = StreamServer(("127.0.0.1", 0), serve)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
""",
    "pyro5": """
import Pyro5.api
@Pyro5.api.expose
class Source:
    def numbers(self, count):
        return (number for number in range(count))
    def echo(self, value):
        return value
Pyro5.config.ITER_STREAMING = True
daemon = Pyro5.api.Daemon(host="127.0.0.1")
print(daemon.register(Source()), flush=True)
daemon.requestLoop()
""",
}

CLIENTS = {
    "gpyro": """
import gevent, numpy
import gpyro
from gpyro import core
gpyro.config.PYRO_MAX_BUFFERS = 2**32 - 1
proxy = core.getProxyForURI(sys.argv[2])
MIB, ARRAY = bytes(range(256)) * 4096, numpy.arange(12_500_000, dtype="f8")
def stream(count):
    return sum(1 for _ in proxy.numbers(count))
def upload(count):
    return proxy.total(number for number in range(count))
def bytes_(count):
    return sum(len(proxy.echo(MIB)) == len(MIB) for _ in range(count))
def array(count):
    return sum(proxy.echo_array(ARRAY).nbytes == ARRAY.nbytes for _ in range(count))
def batch(count):
    done = 0
    while done < count:
        calls = gpyro.batch(proxy)
        for number in range(1000):
            calls.echo(number)
        done += len(calls())
    return done
""",
    "bare": """
from gevent import socket
address = "127.0.0.1", int(sys.argv[2])
lines, echoes = socket.create_connection(address), socket.create_connection(address)
lines.sendall(b"s")
echoes.sendall(b"e")
file = lines.makefile("rwb", buffering=65536)
MIB, ARRAY = bytes(range(256)) * 4096, bytes(100_000_000)
def stream(count):
    file.write(b"%d\\n" % count)
    file.flush()
    return sum(int(file.readline()) >= 0 for _ in range(count))
def read(connection, size):
    body = bytearray(size)
    view = memoryview(body)
    while view:
        view = view[connection.recv_into(view):]
    return body
def echo(data):
    echoes.sendall(len(data).to_bytes(8, "big"))
    echoes.sendall(data)
    return read(echoes, int.from_bytes(read(echoes, 8), "big"))
def bytes_(count):
    return sum(len(echo(MIB)) == len(MIB) for _ in range(count))
def array(count):
    return sum(len(echo(ARRAY)) == len(ARRAY) for _ in range(count))
""",
    "pyro5": """
import numpy
import Pyro5.api
Pyro5.config.SERIALIZER = "marshal"
proxy = Pyro5.api.Proxy(sys.argv[2])
ARRAY = numpy.arange(12_500_000, dtype="f8")
def stream(count):
    return sum(1 for _ in proxy.numbers(count))
def array(count):
    return sum(numpy.frombuffer(proxy.echo(ARRAY.tobytes())).nbytes == ARRAY.nbytes for _ in range(count))
def batch(count):
    done = 0
    while done < count:
        calls = Pyro5.api.BatchProxy(proxy)
        for number in range(1000):
            calls.echo(number)
        done += len(list(calls()))
    return done
""",
}
