"""Exceptions that travel, time that runs out, and what is said of both."""

from __future__ import annotations

from tests.porting.plays import play, served
from tests.programs import program

SERVER = """
import gpyro, gpyro.core
class OwnError(Exception):
    pass
class NeedsArguments(Exception):
    def __init__(self, text, code):
        Exception.__init__(self, text)
        self.code = code
class Unknown(Exception):
    pass
gpyro.register_class(OwnError, name="example.OwnError")
gpyro.register_class(NeedsArguments, name="example.NeedsArguments")
class Thing(gpyro.core.ObjBase):
    def divide(self, a, b):
        return a // b
    def own(self):
        raise OwnError("own", 42)
    def needing(self):
        raise NeedsArguments("needing", 7)
    def unknown(self):
        error = Unknown("not registered")
        error.detail = [1, 2]
        raise error
    def leave(self):
        raise SystemExit(3)
    def unimportable(self):
        import no_such_module
    def as_result(self):
        return ValueError("a result")
daemon = gpyro.core.Daemon()
print(daemon.connect(Thing()), flush=True)
daemon.requestLoop()
"""

CLIENT = """
import sys
import gpyro, gpyro.core, gpyro.errors, gpyro.util, gpyro.constants
class OwnError(Exception):
    pass
class NeedsArguments(Exception):
    def __init__(self, text, code):
        raise AssertionError("the constructor does not run again")
gpyro.register_class(OwnError, name="example.OwnError")
gpyro.register_class(NeedsArguments, name="example.NeedsArguments")
thing = gpyro.core.getProxyForURI(sys.argv[1])
"""


def test_exceptions_and_their_tracebacks():
    client = (
        CLIENT
        + """
try:
    thing.divide(1, 0)
except ZeroDivisionError as x:
    text = "".join(gpyro.util.getPyroTraceback(x))
    print("division", "in divide" in text, text.count("Remote traceback"))
    lines = getattr(x, gpyro.constants.TRACEBACK_ATTRIBUTE)
    print(type(lines) is list, "in divide" in "".join(lines))
try:
    thing.own()
except OwnError as x:
    print("own", x.args)
print("result", repr(thing.as_result()))
try:
    {}["local"]
except KeyError as x:
    print("local", "Remote" in "".join(gpyro.util.getPyroTraceback(x)))
sys.excepthook = gpyro.util.excepthook
thing.divide(2, 0)
"""
    )
    with served(SERVER) as running, program(client, running.uri) as user:
        code, out, errors = user.end()
        assert code == 1
        assert out.splitlines() == [
            "division True 1",
            "True True",
            "own ('own', 42)",
            "result ValueError('a result')",
            "local False",
        ]
        assert "This exception occured remotely (Pyro) - Remote traceback" in errors
        assert errors.count("in divide") == 1


def test_exceptions_of_classes_that_are_special():
    client = (
        CLIENT
        + """
try:
    thing.needing()
except NeedsArguments as x:
    print(x.args, x.code)
try:
    thing.unknown()
except gpyro.errors.RemoteError as x:
    print(x.name, "|", x.text, "|", x.attributes)
for method in (thing.leave, thing.unimportable, thing.nothing, thing.divide):
    try:
        method()
    except Exception as x:
        print(type(x).__name__, "|", str(x).splitlines()[0])
print(thing.divide(4, 2))
"""
    )
    assert play(SERVER, client).splitlines() == [
        "('needing',) 7",
        "__main__.Unknown | not registered | {'detail': [1, 2]}",
        "RemoteError | SystemExit: 3",
        "ModuleNotFoundError | No module named 'no_such_module'",
        "AttributeError | Thing offers no 'nothing'",
        "TypeError | Thing.divide() missing 2 required positional arguments: 'a' and 'b'",
        "2",
    ]


def test_classes_of_arguments_are_registered_on_both_sides():
    server = """
    import gpyro, gpyro.core
    class Point:
        def __init__(self, x, y):
            self.x, self.y = x, y
    gpyro.register_class(Point, name="example.Point")
    class Thing(gpyro.core.ObjBase):
        def mirror(self, point):
            return Point(point.y, point.x)
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro, gpyro.core, gpyro.errors
    class Point:
        def __init__(self, x, y):
            self.x, self.y = x, y
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    try:
        thing.mirror([Point(1, 2)])
    except gpyro.errors.SerializationError as x:
        print(x)
        print(x.path)
    gpyro.register_class(Point, name="example.Point")
    point = thing.mirror(Point(1, 2))
    print(type(point) is Point, point.x, point.y)
    class Other:
        pass
    gpyro.register_class(Other, name="example.Other")       # here, and not there
    try:
        thing.mirror(Other())
    except gpyro.errors.SerializationError as x:
        print(x)
    """
    message, path, point, other = play(server, client).splitlines()
    assert message.startswith("args[0][0]: ")
    assert "gpyro.register_class(Point" in message
    assert path == "args[0][0]"
    assert point == "True 2 1"
    assert other.startswith("the server cannot read the call: ")
    assert "example.Other" in other


def test_with_pickle_on_both_sides_nothing_is_registered():
    server = """
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def work(self, value):
            return type(value).__name__, value.getvalue()
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import io, sys
    import gpyro.core, gpyro.errors
    try:
        print(gpyro.core.getProxyForURI(sys.argv[1]).work(io.StringIO("travels")))
    except gpyro.errors.PyroError as x:
        print(type(x).__name__)
    """
    pickle = {"GPYRO_SERIALIZER": "pickle"}
    with served(server, environment=pickle) as running:
        assert running.client(client, environment=pickle) == "('StringIO', 'travels')\n"
        # Neither is talked into it by the other.
        assert running.client(client) == "ConnectionDeniedError\n"
    with served(server) as running:
        assert running.client(client, environment=pickle) == "ConnectionDeniedError\n"


def test_timeouts_are_for_the_whole_call_and_spare_the_proxy():
    server = """
    import gevent
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def wait(self, seconds):
            gevent.sleep(seconds)
            return "waited"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys, time
    import gpyro.core
    from gpyro.errors import TimeoutError, ConnectionClosedError
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    print(thing.wait(0.01))
    thing._setTimeout(0.5)
    try:
        thing.wait(60)
    except TimeoutError as x:
        print(x.phase, x.may_have_run, isinstance(x, ConnectionClosedError), thing.adapter.connected())
    thing._setTimeout(None)
    print(thing.wait(0.15))
    """
    out = play(server, client).splitlines()
    assert out == ["waited", "running True True True", "waited"]


def test_a_server_that_is_not_there_and_one_that_ends():
    server = """
    import os
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def die(self):
            os._exit(1)
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    from gpyro.errors import *
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    try:
        thing.die()
    except ConnectionClosedError as x:
        print("lost", x.may_have_run)
    try:
        thing.die()
    except ProtocolError as x:
        print("not there", x.may_have_run, str(x).startswith("connection failed"))
    """
    assert play(server, client) == "lost True\nnot there False True\n"
