"""Objects that call objects: clients that are called back, circles, conversations."""

from __future__ import annotations

from tests.porting.plays import play, served
from tests.programs import program

NEWSROOM = """
import gpyro.core, gpyro.errors
class Newsroom(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.readers = []
    def register(self, reader):
        reader._setOneway("news")
        self.readers.append(reader)
    def count(self):
        return len(self.readers)
    def report(self, message):
        for reader in self.readers[:]:
            try:
                reader.news("Breaking news: " + message)
            except gpyro.errors.ProtocolError:
                self.readers.remove(reader)
daemon = gpyro.core.Daemon()
print(daemon.connect(Newsroom(), "news"), flush=True)
daemon.requestLoop()
"""

LISTENER = """
import sys, threading
import gpyro.core
class Reader(gpyro.core.CallbackObjBase):
    def news(self, message):
        print(message, flush=True)
daemon = gpyro.core.Daemon()
reader = Reader()
daemon.connect(reader)
server = gpyro.core.getProxyForURI(sys.argv[1])
server.register(reader.getProxy())
print("ready", flush=True)
daemon.requestLoop()
"""

REPORTER = """
import sys
import gpyro.core
server = gpyro.core.getProxyForURI(sys.argv[1])
server.report("hello")
left = int(sys.argv[2])
reports = 1
while server.count() > left:            # the first call after one left may be lost without a word
    server.report("hello")
    reports = reports + 1
print(reports)
"""


def test_callbacks_with_one_way_calls_and_clients_that_leave():
    with served(NEWSROOM) as running:
        with program(LISTENER, running.uri) as first, program(LISTENER, running.uri) as second:
            assert first.line() == second.line() == "ready"
            assert running.client(REPORTER, "2") == "1\n"
            assert first.line() == second.line() == "Breaking news: hello"
            first.kill()
            for _ in range(int(running.client(REPORTER, "1"))):
                assert second.line() == "Breaking news: hello"
            second.send_signal(15)
            second.ended_well()
        assert running.client(REPORTER, "0")


PLAYING = """
import sys
import gpyro.core
class Player(gpyro.core.ObjBase):
    def __init__(self, name):
        gpyro.core.ObjBase.__init__(self)
        self.name = name
    def start(self, other):
        self.other = other
    def play(self, strokes):
        if len(strokes) >= 6:
            return strokes
        return self.other.play(strokes + [self.name])
    def rally(self, strokes, partner):
        if len(strokes) >= 6:
            return strokes
        return partner.rally(strokes + [self.name], self.getProxy())
"""

PLAYER = (
    PLAYING
    + """
daemon = gpyro.core.Daemon()
print(daemon.connect(Player("server"), "player"), flush=True)
daemon.requestLoop()
"""
)


def test_a_conversation_over_one_proxy_and_over_new_ones():
    """Over one proxy it froze in Pyro 3, whose proxies carry one call at a time."""
    client = (
        PLAYING
        + """
daemon = gpyro.core.Daemon()
me = Player("client")
daemon.connect(me)
with daemon:
    other = gpyro.core.getProxyForURI(sys.argv[1])
    me.start(other)
    other.start(me.getProxy())
    print(*me.play([]))
    print(*other.rally([], me.getProxy()))
"""
    )
    assert play(PLAYER, client).splitlines() == [
        "client server client server client server",
        "server client server client server client",
    ]


def test_a_circle_of_three_servers():
    node = """
    import sys
    import gpyro.core
    class Link(gpyro.core.ObjBase):
        def setNext(self, name, following):
            self.name, self.following = name, following
        def go(self, way):
            if self.name in way:
                return way + [self.name]
            return self.following.go(way + [self.name])
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Link(), "link"), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    links = [gpyro.core.getProxyForURI(uri) for uri in sys.argv[1:]]
    for name, link, following in zip("ABC", links, links[1:] + links[:1]):
        link.setNext(name, following)
    print(*links[0].go([]))
    """
    with served(node) as a, served(node) as b, served(node) as c:
        out = a.client(client, b.uri, c.uri)
        assert out == "A B C A\n"


def test_an_error_in_a_callback_object_reaches_both_sides():
    server = """
    import gpyro.core
    class Caller(gpyro.core.ObjBase):
        def call(self, client):
            try:
                client.news()
            except ZeroDivisionError as x:
                return "the server got: " + str(x)
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Caller()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    class Reader(gpyro.core.CallbackObjBase):
        def news(self):
            return 1 // 0
    reader = Reader()
    with gpyro.core.Daemon() as daemon:
        daemon.connect(reader)
        caller = gpyro.core.getProxyForURI(sys.argv[1])
        for i in range(2):
            print(caller.call(reader.getProxy()))
    """
    with served(server) as running, program(client, running.uri) as user:
        code, out, errors = user.end()
        assert (code, out) == (0, "the server got: integer division or modulo by zero\n" * 2)
        assert "in news" in errors, "and the client's own program tells it"
