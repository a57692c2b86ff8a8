"""Objects in Pyro 3's patterns: what of them is called, read and written, and what is not."""

from __future__ import annotations

import pytest

from gpyro import core
from tests.porting.plays import play, served
from tests.programs import program

# The patterns of the manual: each server prints the URI that the client takes from its command line.

DERIVED = """
import gpyro.core

class Weather(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
    def forecast(self, place):
        return "Rain in " + place + ", I am afraid"

daemon = gpyro.core.Daemon()
uri = daemon.connect(Weather(), "weather")

print(uri, flush=True)
try:
    daemon.requestLoop()
finally:
    daemon.shutdown(True)
"""

MIXED = DERIVED.replace(
    "class Weather(gpyro.core.ObjBase):\n    def __init__(self):\n        gpyro.core.ObjBase.__init__(self)\n",
    "class RealWeather:\n",
).replace(
    "daemon = ",
    """class Weather(gpyro.core.ObjBase, RealWeather):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)

daemon = """,
    1,
)

DELEGATED = MIXED.split("class Weather")[0] + (
    """
obj = gpyro.core.ObjBase()
obj.delegateTo(RealWeather())
daemon = gpyro.core.Daemon()
uri = daemon.connect(obj, "weather")
"""
    + DERIVED.split('"weather")\n', 1)[1]
)

CLIENT = """
import sys
import gpyro.core

for uri in sys.argv[1:]:
    weather = gpyro.core.getProxyForURI(uri)
    print(weather.forecast("Leiden"))
"""


@pytest.mark.parametrize("server_code", [DERIVED, MIXED, DELEGATED], ids=["derived", "mixed", "delegated"])
def test_hello_world_in_its_three_patterns(server_code):
    assert "RealWeather" in server_code or server_code is DERIVED
    with served(server_code) as running:
        assert running.client(CLIENT, running.by_name("weather")) == "Rain in Leiden, I am afraid\n" * 2
        running.server.process.terminate()
        running.server.ended_well()


def test_constructors_run_on_the_server_and_both_of_them():
    server = """
    import gpyro.core, gpyro.errors
    class Counter:
        def __init__(self, start):
            self.count = start
        def init(self, start):
            self.count = start
        def increase(self):
            self.count += 1
            return self.count
    class Remote(gpyro.core.ObjBase, Counter):
        def __init__(self, start):
            gpyro.core.ObjBase.__init__(self)
            Counter.__init__(self, start)
    class Forgetful(gpyro.core.ObjBase, Counter):
        def __init__(self, start):
            Counter.__init__(self, start)
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Remote(10)), flush=True)
    try:
        daemon.connect(Forgetful(10))
    except gpyro.errors.DaemonError as x:
        print(x, flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    first, second = [gpyro.core.getProxyForURI(sys.argv[1]) for i in range(2)]
    print(first.increase(), second.increase())
    try:
        first._invokePYRO("__init__", (100,), {})
    except AttributeError:
        print("never")
    second.init(100)
    print(first.increase())
    """
    with served(server) as running:
        assert running.server.line() == "Forgetful.__init__ did not call ObjBase.__init__"
        assert running.client(client) == "11 12\nnever\n101\n"


def test_names_of_the_base_stay_with_the_base():
    server = """
    import gpyro.core
    class Real:
        def GUID(self):
            return "the delegate's"
        def getProxy(self):
            return "the delegate's"
        def work(self):
            return "worked"
    obj = gpyro.core.ObjBase()
    obj.delegateTo(Real())
    class Derived(gpyro.core.ObjBase):
        def work(self):
            return "worked"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(obj), flush=True)
    print(daemon.connect(Derived()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    for uri in sys.argv[1:]:
        obj = gpyro.core.getProxyForURI(uri)
        print(obj.work())
        for name in ("setGUID", "delegateTo", "setCodeValidator", "remote_supply_code", "getDaemon"):
            try:
                getattr(obj, name)(None)
                print(name, "was called")
            except AttributeError:
                pass
    print(gpyro.core.getProxyForURI(sys.argv[1]).GUID())
    """
    with served(server) as running:
        second = running.server.line()
        assert running.client(client, second) == "worked\nworked\nthe delegate's\n"


def test_the_overridden_method_is_the_one_that_is_called():
    server = """
    import gpyro.core
    class Base:
        def one(self):
            return "base one, " + self.two()
        def two(self):
            return "base two"
    class Sub(gpyro.core.ObjBase, Base):
        def two(self):
            return "sub two"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Sub()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    obj = gpyro.core.getProxyForURI(sys.argv[1])
    print(obj.one())
    """
    assert play(server, client) == "base one, sub two\n"


def test_attributes_and_nested_ones():
    server = """
    import gpyro.core
    class Sum(gpyro.core.ObjBase):
        def __init__(self):
            gpyro.core.ObjBase.__init__(self)
            self.sum = 0
            self.people = {"ann": ["reading"]}
        def name(self):
            return "sum"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Sum()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    obj = gpyro.core.getAttrProxyForURI(sys.argv[1])
    for i in range(10):
        obj.sum = obj.sum + i
    print(obj.sum, obj.name(), obj.findattr("sum"), obj.findattr("name"))
    obj.people["ann"].append("lost")
    print(obj.people["ann"])
    for name in ("nothing", "name"):
        try:
            setattr(obj, name, 1)
        except AttributeError as x:
            print(x)
    try:
        obj.nothing
    except AttributeError as x:
        print("no such attribute")
    # The same through the proxies that a URI gives, and through an ordinary one, where it is always a method.
    uri = gpyro.core.PyroURI(sys.argv[1])
    print(uri.getAttrProxy().sum)
    for plain in (uri.getProxy(), gpyro.core.getProxyForURI(uri)):
        print(plain.sum != 45, plain.name())
        try:
            plain.sum = 1
        except AttributeError as x:
            print("not through this proxy")
    """
    expected = [
        "45 sum 2 1",
        "['reading']",
        "not an attribute: 'nothing' of Sum",
        "not an attribute: 'name' of Sum",
        "no such attribute",
        "45",
        *(["True sum", "not through this proxy"] * 2),
    ]
    assert play(server, client).splitlines() == expected


def test_attributes_that_cannot_travel_are_no_harm_while_nobody_reads_them():
    server = """
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def __init__(self):
            gpyro.core.ObjBase.__init__(self)
            self.file = open(__import__("os").devnull)
            self.big = {i: "value %d" % i for i in range(1000)}
        def name(self):
            return self.file.name
        def item(self, key):
            return self.big[key]
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core, gpyro.errors
    obj = gpyro.core.getAttrProxyForURI(sys.argv[1])
    print(obj.name())
    try:
        obj.file
    except gpyro.errors.SerializationError as x:
        print(x)
    # The whole dictionary travels for one item, and a copy is what is changed.
    obj.big[1] = "changed"
    print(obj.big[1], obj.item(1))
    """
    out = play(server, client).splitlines()
    assert out == [
        "/dev/null",
        "result: TextIOWrapper: open files cannot travel; pass their content or path",
        "value 1 value 1",
    ]


COUNTER = """
import time
import gevent
import gpyro.core
class Counter(gpyro.core.BASE):
    def __init__(self):
        gpyro.core.BASE.__init__(self)
        self.count = 0
        self.together = 0
        self.most = 0
    def increase(self):
        self.together += 1
        self.most = max(self.most, self.together)
        before = self.count
        gevent.sleep(0)
        self.count = before + 1
        self.together -= 1
    def result(self):
        return self.count, self.most
daemon = gpyro.core.Daemon()
print(daemon.connect(Counter()), flush=True)
print(daemon.connect(Counter()), flush=True)
daemon.requestLoop()
"""

COUNTING = """
import sys, threading
import gpyro.core
def work():
    counter = gpyro.core.getProxyForURI(sys.argv[1])
    for i in range(50):
        counter.increase()
threads = [threading.Thread(target=work) for i in range(4)]
for t in threads: t.start()
for t in threads: t.join()
"""


@pytest.mark.parametrize("base", ["SynchronizedObjBase", "ObjBase"])
def test_calls_of_synchronized_objects_never_overlap(base):
    with served(COUNTER.replace("BASE", base)) as running:
        with program(COUNTING, running.uri) as one, program(COUNTING, running.uri) as two:
            one.ended_well()
            two.ended_well()
        counter = core.getProxyForURI(running.uri)
        count, most = counter.result()
        counter._release()
        if base == "SynchronizedObjBase":
            assert (count, most) == (400, 1)
        else:
            assert most > 1, "they overlap, so this does tell the two apart"


def test_what_special_methods_do_is_about_the_proxy():
    server = """
    import gpyro.core
    class Number(gpyro.core.ObjBase):
        def __init__(self, value):
            gpyro.core.ObjBase.__init__(self)
            self.value = value
        def __eq__(self, other):
            return self.value == other.value
        def __bool__(self):
            return False
        def __len__(self):
            return 0
        def __iadd__(self, other):
            self.value += other
            return self.getProxy()
        def add(self, other):
            self.value += other
            return self.value
    daemon = gpyro.core.Daemon()
    numbers = [Number(1), Number(1)]
    for number in numbers:
        print(daemon.connect(number), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    one, same, other = [gpyro.core.getProxyForURI(sys.argv[i]) for i in (1, 1, 2)]
    print(bool(one), one == same, hash(one) == hash(same), one == other, one != other, one == 1)
    print({one: "found"}[same], one in [other, same])
    try:
        one += 5
    except TypeError:
        print("no addition", one.add(5))
    while one:          # is always true, and asks nobody
        break
    for compare in (lambda: one < other, lambda: len(one)):
        try:
            compare()
        except TypeError:
            print("not compared")
    """
    with served(server) as running:
        assert running.client(client, running.server.line()).splitlines() == [
            "True True True False True False",
            "found True",
            "no addition 6",
            "not compared",
            "not compared",
        ]
