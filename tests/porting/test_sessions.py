"""What a server keeps for a client: local storage, and who calls."""

from __future__ import annotations

from tests.porting.plays import play, served


def test_sessions_with_data_on_the_storage_and_the_caller():
    server = """
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def login(self, name):
            self.getLocalStorage().caller.userName = name
        def work(self):
            tls = self.getLocalStorage()
            tls.counter += 1
            return tls.caller.userName, tls.counter
    def initTLS(tls):
        tls.counter = 100
    daemon = gpyro.core.Daemon()
    daemon.setInitTLS(initTLS)
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys, copy
    import gpyro.core
    first = gpyro.core.getProxyForURI(sys.argv[1])
    second = copy.copy(first)
    first.login("ann"); second.login("bob")
    print(first.work(), second.work(), first.work())
    """
    assert play(server, client) == "('ann', 101) ('bob', 101) ('ann', 102)\n"


KEEPING = """
import gevent
import gpyro.core, gpyro.errors, gpyro.tls
class Thing(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.left = []
        try:
            self.getLocalStorage()
        except gpyro.errors.PyroError as x:
            self.without = "no storage while it is made"
    def enter(self, name):
        tls = self.getLocalStorage()
        tls.name = name
        tls.caller.data = [name]
        def watch():
            while tls.caller.connected: gevent.sleep(0.005)
            self.left.append(tls.caller.data[0])
        gevent.spawn(watch)
    def look(self):
        tls = self.getLocalStorage()
        return getattr(tls, "name", None), getattr(tls.caller, "data", None), tls.caller.connected
    def spawned(self):
        return gevent.spawn(lambda: self.getLocalStorage().name).get()
    def address(self):
        host, port = self.getLocalStorage().caller.addr
        return host, port > 0
    def whoLeft(self):
        return sorted(self.left)
    def afterConstruction(self):
        return self.without
class Real:
    def name(self):
        return gpyro.tls.getLocalStorage().name
    def set(self, name):
        gpyro.tls.getLocalStorage().name = name
delegating = gpyro.core.ObjBase()
delegating.delegateTo(Real())
daemon = gpyro.core.Daemon()
print(daemon.connect(Thing()), flush=True)
print(daemon.connect(delegating), flush=True)
daemon.requestLoop()
"""


def test_each_proxy_has_a_session_and_it_ends_with_the_proxy():
    client = """
    import sys
    import gpyro.core
    ann, bob, new = [gpyro.core.getProxyForURI(sys.argv[1]) for i in range(3)]
    ann.enter("ann"); bob.enter("bob")
    print(ann.look(), bob.look(), new.look(), ann.spawned())
    print(ann.address(), ann.afterConstruction())
    ann._release()
    print(ann.look())           # a new session
    del bob
    while new.whoLeft() != ["ann", "bob"]: pass
    print("both left")
    """
    with served(KEEPING) as running:
        assert running.client(client).splitlines() == [
            "('ann', ['ann'], True) ('bob', ['bob'], True) (None, None, True) ann",
            "('127.0.0.1', True) no storage while it is made",
            "(None, None, True)",
            "both left",
        ]


def test_delegates_and_plain_functions_find_the_storage_too():
    client = """
    import sys
    import gpyro.core
    one, two = [gpyro.core.getProxyForURI(sys.argv[2]) for i in range(2)]
    one.set("one"); two.set("two")
    print(one.name(), two.name())
    """
    with served(KEEPING) as running:
        assert running.client(client, running.server.line()) == "one two\n"


def test_one_object_serves_all_and_calls_of_one_proxy_overlap():
    server = """
    import gevent.event
    import gpyro.core
    class Meeting(gpyro.core.ObjBase):
        def __init__(self):
            gpyro.core.ObjBase.__init__(self)
            self.names = []
            self.complete = gevent.event.Event()
        def come(self, name, count):
            self.names.append(name)
            if len(self.names) == count:
                self.complete.set()
            self.complete.wait()
            return sorted(self.names)
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Meeting()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys, threading
    import gpyro.core
    meeting = gpyro.core.getProxyForURI(sys.argv[1])
    answers = []
    def come(name):
        answers.append(meeting.come(name, 3))
    threads = [threading.Thread(target=come, args=(name,)) for name in ("ann", "bob", "cid")]
    for t in threads: t.start()
    for t in threads: t.join()
    print(answers[0], answers[0] == answers[1] == answers[2])
    """
    assert play(server, client) == "['ann', 'bob', 'cid'] True\n"
