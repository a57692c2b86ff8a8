"""Proxies and URIs: where they come from, and where they are passed on to."""

from __future__ import annotations

import pytest

from gpyro import core, errors
from tests.porting.plays import served
from tests.programs import program

PHONEBOOK = """
import sys
import gpyro.core
class Book(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.entries = {}
    def put(self, name, proxy):
        self.entries[name] = proxy
    def get(self, name):
        return self.entries[name]
    def ask(self, name, *args):
        return self.entries[name].greet(*args)
daemon = gpyro.core.Daemon()
uri = daemon.connect(Book(), "book")
open(sys.argv[1], "w").write(str(uri) + "\\n")
print(uri, flush=True)
daemon.requestLoop()
"""

GREETER = """
import sys
import gpyro.core
class Greeter(gpyro.core.ObjBase):
    def __init__(self, word):
        gpyro.core.ObjBase.__init__(self)
        self.word = word
    def greet(self, name="world"):
        return self.word + " " + name
daemon = gpyro.core.Daemon()
greeter = Greeter("hello")
print(daemon.connect(greeter, "greeter"), flush=True)
book = gpyro.core.getProxyForURI(sys.argv[1])
book.put("plain", greeter.getProxy())
book.put("attributes", greeter.getAttrProxy())
book.put("uri", gpyro.core.PyroURI("PYROLOC://127.0.0.1:%d/greeter" % daemon.port))
print("ready", flush=True)
daemon.requestLoop()
"""


def test_proxies_and_uris_are_passed_around_among_three_processes(tmp_path):
    file = str(tmp_path / "book.uri")
    client = """
    import copy, pickle, sys
    import gpyro.core, gpyro.errors
    uri = gpyro.core.PyroURI(open(sys.argv[2]).read().strip())
    book = uri.getProxy()
    plain, attributes, located = book.get("plain"), book.get("attributes"), book.get("uri")
    print(plain.greet(), attributes.word, located.protocol, located.getProxy().greet("you"), book.ask("plain", "me"))
    attributes.word = "goodbye"
    print(pickle.loads(pickle.dumps(plain)).greet(), copy.copy(plain).greet(), plain == attributes)
    try:
        copy.deepcopy(plain)
    except gpyro.errors.PyroError as x:
        print(x)
    """
    with served(PHONEBOOK, file) as book, served(GREETER, book.uri) as greeter:
        assert greeter.server.line() == "ready"
        assert book.client(client, file).splitlines() == [
            "hello world hello PYROLOC hello you hello me",
            "goodbye world goodbye world True",
            "cannot deepcopy a proxy",
        ]


ECHO = """
import gpyro.core
class Echo(gpyro.core.ObjBase):
    def echo(self, value):
        return value
    def quit(self):
        self.getDaemon().shutdown()
obj = Echo()
daemon = gpyro.core.Daemon(port=PORT, norange=1)
print(daemon.connect(obj, "echo"), flush=True)
daemon.requestLoop()
"""


def test_every_form_of_uri_and_every_way_to_a_proxy():
    client = """
    import os, sys
    import gpyro.core
    uri = gpyro.core.PyroURI(sys.argv[1])
    print(str(uri) == sys.argv[1], uri.protocol, uri.address == "127.0.0.1", uri == gpyro.core.PyroURI(uri))
    same = gpyro.core.PyroURI(uri.address, uri.objectID, uri.port)
    print(same == uri, repr(same) == "<PyroURI '%s'>" % uri)
    where = "%s:%d" % (uri.address, uri.port)
    forms = [uri, str(uri), "PYROLOC://%s/echo" % where]
    # PYRO_PORT is this very port, so it may be left out.
    forms += ["PYRO://%s/%s" % (uri.address, uri.objectID), "PYROLOC://localhost/echo"]
    for form in forms:
        proxies = [gpyro.core.getProxyForURI(form), gpyro.core.getAttrProxyForURI(form)]
        uri = gpyro.core.PyroURI(form)
        proxies += [uri.getProxy(), uri.getAttrProxy(), gpyro.core.DynamicProxy(form)]
        print([proxy.echo(i) for i, proxy in enumerate(proxies)], proxies[0].URI.protocol)
    """
    with served(ECHO.replace("PORT", "0")) as running:
        port = running.uri.rpartition("/")[0].rpartition(":")[2]
        out = running.client(client, environment={"GPYRO_PORT": port}).splitlines()
        assert out == ["True PYRO True True", "True True", *["[0, 1, 2, 3, 4] PYRO"] * 5]


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("PYRO://host:port/id", "URIError"),
        ("PYRO:/host/id", "URIError"),
        ("PYROLOC://host", "URIError"),
        ("HTTP://host:1/id", "URIError"),
        ("PYRONAME://a..name", "NamingError"),
        ("host", "URIError"),
    ],
)
def test_malformed_uris(uri, error):
    with pytest.raises(getattr(errors, error)):
        core.getProxyForURI(uri)


def test_after_a_restart_a_pyro_uri_is_stale_and_a_name_is_not():
    client = """
    import sys
    import gpyro.core, gpyro.errors
    stale, named = [gpyro.core.getProxyForURI(uri) for uri in sys.argv[1:]]
    print(stale.echo(1), named.echo(1), flush=True)
    sys.stdin.readline()
    for proxy in (stale, named):
        proxy.adapter.rebindURI()
        try:
            print(proxy.echo(2))
        except gpyro.errors.ProtocolError as x:
            print(str(x).split(" ")[:3])
    """
    with served(ECHO.replace("PORT", "0")) as running:
        port = running.uri.rpartition("/")[0].rpartition(":")[2]
        with program(client, running.uri, running.by_name("echo")) as user:
            assert user.line() == "1 1"
            running.client("import gpyro.core, sys; gpyro.core.getProxyForURI(sys.argv[1]).quit()")
            assert running.server.ended_well() == ""
            with served(ECHO.replace("PORT", port)) as again:
                assert again.uri != running.uri
                user.say("")
                assert user.ended_well() == "['unknown', 'object', 'ID']\n2\n"


def test_rebinding_after_the_connection_was_lost():
    """The recipe of Pyro 3's programs: they catch ConnectionClosedError, and repeat the call themselves."""
    client = """
    import sys, time
    import gpyro.core
    from gpyro.errors import ConnectionClosedError
    sleep = time.sleep
    if sys.argv[2] == "loop":
        import gevent
        sleep = gevent.sleep            # so that it hears of the loss before the next call
    obj = gpyro.core.getProxyForURI(sys.argv[1])
    rebound = 0
    while 1:
        try:
            print(obj.echo(rebound), flush=True)
            if rebound: break
            sys.stdin.readline()
            sleep(0.05)
        except ConnectionClosedError as x:
            print("lost, connecting again", flush=True)
            obj.adapter.rebindURI(tries=1000, wait=0.02)
            rebound = rebound + 1
    obj.adapter.release()
    try:
        obj.adapter.bindToURI("PYRO://127.0.0.1:1/nobody")
    except gpyro.errors.ProtocolError as x:
        print(x)
    """
    with served(ECHO.replace("PORT", "0")) as running:
        port = running.uri.rpartition("/")[0].rpartition(":")[2]
        names = (running.by_name("echo"),)
        with program(client, *names, "sleep") as one, program(client, *names, "loop") as two:
            assert (one.line(), two.line()) == ("0", "0")
            running.server.kill()
            one.say("")
            two.say("")
            assert one.line() == two.line() == "lost, connecting again"
            with served(ECHO.replace("PORT", port)):
                for client_program in (one, two):
                    again, refused = client_program.ended_well().splitlines()
                    assert again == "1"
                    assert refused.startswith("connection failed: 127.0.0.1:1:")
