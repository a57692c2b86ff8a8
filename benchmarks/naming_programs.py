"""The programs of `naming_servers.py`: name servers, and clients that do what a line asks them for.

A line to a client is the name of a function and how often it is to be done; it answers with what was measured.
"""

from __future__ import annotations

NAME_SERVER = """
import gevent
from gevent.os import tp_read
from gpyro import core
from gpyro.naming import NameServerStarter
class Echo(core.ObjBase):
    def echo(self, value):
        return value
starter = NameServerStarter()
starter.begin(persistent=1, dbdir=os.path.abspath(sys.argv[2]), dontlookupother=1, nobroadcast=True)
echoes = core.Daemon(port=0, norange=1)
echoes.start()
print("READY", starter.uri, echoes.connect(Echo()), flush=True)
while tp_read(0, 1):
    store = starter.server.space.store
    print(store.changes, store.saves, flush=True)
"""

CLIENT = """
import itertools, gevent
from gpyro import core
from gpyro.naming import NameServerProxy
ns, plain, echo = NameServerProxy(sys.argv[2]), core.getProxyForURI(sys.argv[2]), core.getProxyForURI(sys.argv[3])
NAMES = [f":Default.name{number}" for number in range(1000)]
URI = "PYRO://127.0.0.1:43237/4cc478bb-5724bf01-930b333e-b3b52970"
fresh = itertools.count()
def each(count, work):
    numbers = iter(range(count))
    def caller():
        for number in numbers:
            work(number)
    began = time.perf_counter()
    gevent.joinall([gevent.spawn(caller) for _ in range(64)], raise_error=True)
    return count / (time.perf_counter() - began)
def prepare(count):
    for name in NAMES:
        ns.register(name, URI)
    return 0
def echoes(count):
    return each(count, lambda number: echo.echo(NAMES[number % 1000]))
def resolve(count):
    return each(count, lambda number: ns.resolve(NAMES[number % 1000]))
def resolve_plain(count):
    return each(count, lambda number: plain.resolve(NAMES[number % 1000]))
def register(count):
    return each(count, lambda number: ns.register(f":Default.fresh{next(fresh)}", URI))
def group(count):
    taken = []
    for number in range(count):
        began = time.perf_counter()
        assert len(ns.list(f":many.t{number % 10}.g{number}")) == 100
        taken.append(time.perf_counter() - began)
    return 1000 * sorted(taken)[len(taken) // 2]
def flatlist(count):
    began = time.perf_counter()
    assert len(ns.flatlist()) > count
    return time.perf_counter() - began
"""

PYRO5_SERVER = """
import Pyro5.nameserver
storage = f"sql:{sys.argv[2]}/pyro5.sqlite"
uri, daemon, _ = Pyro5.nameserver.start_ns("127.0.0.1", 0, enableBroadcast=False, storage=storage)
print("READY", uri, flush=True)
daemon.requestLoop()
"""

PYRO5_CLIENT = """
import itertools, threading
import Pyro5.api
URI = "PYRO:obj_4cc478bb5724bf01930b333eb3b52970@127.0.0.1:43237"
fresh = itertools.count()
def each(count, work):
    numbers = iter(range(count))
    def caller():
        with Pyro5.api.Proxy(sys.argv[2]) as ns:
            for number in numbers:
                work(ns, number)
    threads = [threading.Thread(target=caller) for _ in range(8)]
    began = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return count / (time.perf_counter() - began)
def prepare(count):
    with Pyro5.api.Proxy(sys.argv[2]) as ns:
        for number in range(1000):
            ns.register(f"name{number}", URI)
    return 0
def resolve(count):
    return each(count, lambda ns, number: ns.lookup(f"name{number % 1000}"))
def register(count):
    return each(count, lambda ns, number: ns.register(f"fresh{next(fresh)}", URI))
"""

ASKED = """
print("READY", flush=True)
for line in sys.stdin:
    what, count = line.split()
    print(globals()[what](int(count)), flush=True)
"""

REGISTERING = """
import os, sys, gevent
from gpyro.errors import PyroError
from gpyro.naming import NameServerProxy
ns = NameServerProxy(sys.argv[1], search=None)
def work(caller):
    for number in range(int(sys.argv[3]) // 64 + 1):
        name = f":Default.r{sys.argv[2]}-{caller}-{number}"
        try:
            ns.register(name, "PYRO://127.0.0.1:43237/4cc478bb-5724bf01-930b333e-b3b52970")
        except PyroError:
            return
        os.write(1, f"{name}\\n".encode())
gevent.joinall([gevent.spawn(work, caller) for caller in range(64)], raise_error=True)
"""

SERVERS = """
import sys, gevent, gevent.event
from gpyro import core
from gpyro.naming import NameServerProxy
class Thing(core.ObjBase):
    pass
def serve(number):
    daemon = core.Daemon(port=0, norange=1)
    daemon.useNameServer(NameServerProxy(sys.argv[1]))
    daemon.connect(Thing(), f":Default.s{sys.argv[2]}-{number}")
    daemon.start()
    return daemon
daemons = [serve(number) for number in range(int(sys.argv[3]))]
print("READY", flush=True)
gevent.event.Event().wait()
"""
