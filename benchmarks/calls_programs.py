"""The programs of `calls.py`: for each kind a server, and a client with a function for each row.

A function of a row does so much work as it is asked for, and gives how much it has done.
"""

from __future__ import annotations

PINNED = """
import os, sys, time
if sys.argv[1] != "None":
    os.sched_setaffinity(0, {int(sys.argv[1])})
"""

BESIDE = """
import gevent
GIANT, SMALL = bytes(1 << 30), bytes(100)
def p99(going_on):
    taken = []
    while going_on():
        start = time.perf_counter()
        small()
        taken.append(time.perf_counter() - start)
    return 1000 * sorted(taken)[int(0.99 * len(taken))]
def beside(count):
    began = time.perf_counter()
    large = gevent.spawn(giant, count)
    taken = p99(lambda: not large.ready())
    seconds = time.perf_counter() - began
    assert large.get() == count
    return taken, count / seconds
def lone(seconds):
    end = time.perf_counter() + seconds
    return (p99(lambda: time.perf_counter() < end),)
"""

ASKED = """
for line in sys.stdin:
    row, count = line.split()
    began = time.perf_counter()
    done = globals()["bytes_" if row == "bytes" else row](int(count))
    if isinstance(done, int):
        assert done == int(count), done
        done = (int(count) / (time.perf_counter() - began),)
    print(*done, flush=True)
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
    connection.setsockopt(6, 1, 1)  # no delay
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
def giant(count):
    return sum(len(proxy.echo(GIANT)) == len(GIANT) for _ in range(count))
def small():
    return proxy.echo(SMALL)
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
lines, echoes, smalls = [socket.create_connection(address) for _ in range(3)]
for connection in (lines, echoes, smalls):
    connection.setsockopt(6, 1, 1)  # no delay
lines.sendall(b"s")
echoes.sendall(b"e")
smalls.sendall(b"e")
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
def echo(data, connection=echoes):
    connection.sendall(len(data).to_bytes(8, "big"))
    connection.sendall(data)
    return read(connection, int.from_bytes(read(connection, 8), "big"))
def giant(count):
    return sum(len(echo(GIANT)) == len(GIANT) for _ in range(count))
def small():
    return echo(SMALL, smalls)
def bytes_(count):
    return sum(len(echo(MIB)) == len(MIB) for _ in range(count))
def array(count):
    return sum(len(echo(ARRAY)) == len(ARRAY) for _ in range(count))
""",
    "pyro5": """
import numpy
import Pyro5.api
proxy, raw = Pyro5.api.Proxy(sys.argv[2]), Pyro5.api.Proxy(sys.argv[2])
raw._pyroSerializer = "marshal"  # its quickest for bytes
ARRAY = numpy.arange(12_500_000, dtype="f8")
def stream(count):
    return sum(1 for _ in proxy.numbers(count))
def array(count):
    return sum(numpy.frombuffer(raw.echo(ARRAY.tobytes())).nbytes == ARRAY.nbytes for _ in range(count))
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
