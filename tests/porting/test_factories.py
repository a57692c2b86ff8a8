"""Objects that come and go while the server runs: made by others, returned as proxies, disconnected, cleaned up."""

from __future__ import annotations

from tests.porting.plays import play, served
from tests.programs import program


def test_a_bank_with_accounts_as_proxies_and_a_daemon_in_a_thread():
    server = """
    import sys, threading
    import gpyro.core
    class Account(gpyro.core.ObjBase):
        def __init__(self, owner):
            gpyro.core.ObjBase.__init__(self)
            self.owner, self.amount = owner, 0
        def deposit(self, amount):
            self.amount += amount
        def balance(self):
            return self.amount
    class Bank(gpyro.core.SynchronizedObjBase):
        def __init__(self):
            gpyro.core.SynchronizedObjBase.__init__(self)
            self.accounts = {}
        def createAccount(self, owner):
            account = Account(owner)
            self.getDaemon().connect(account)
            self.accounts[owner] = account
            return account.getProxy()
        def attributesOf(self, owner):
            return self.accounts[owner].getAttrProxy()
        def theAccount(self, owner):
            return self.accounts[owner]
        def deleteAccount(self, owner):
            self.getDaemon().disconnect(self.accounts.pop(owner))
        def transfer(self, amount, source, target):
            source.deposit(-amount)
            target.deposit(amount)
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Bank(), "bank"), flush=True)
    thread = threading.Thread(target=daemon.requestLoop)
    thread.start()
    sys.stdin.readline()
    daemon.shutdown(True)
    thread.join()
    print("closed")
    """
    client = """
    import sys
    import gpyro.core, gpyro.errors
    bank = gpyro.core.getProxyForURI(sys.argv[1])
    ann, bob = bank.createAccount("ann"), bank.createAccount("bob")
    ann.deposit(100)
    bank.transfer(30, ann, bob)
    print(ann.balance(), bob.balance(), ann == bob, bank.attributesOf("ann").owner)
    print(bank.theAccount("ann") == ann)
    bank.deleteAccount("bob")
    try:
        bob.balance()
    except gpyro.errors.ProtocolError as x:
        print(str(x).startswith("unknown object ID"))
    print(ann.balance())
    """
    with served(server) as running:
        transferred, returned, unknown, balance = running.client(client).splitlines()
        assert transferred == "70 30 False ann"
        assert (returned, unknown, balance) == ("True", "True", "70")
        running.server.say("end")
        assert running.server.ended_well() == "closed\n"


def test_transient_objects_that_nobody_calls_are_cleaned_up_and_told():
    server = """
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def __init__(self, name):
            gpyro.core.ObjBase.__init__(self)
            self.name = name
        def work(self):
            return "worked"
        def _gotReaped(self):
            print("reaped", self.name, flush=True)
    class Factory(gpyro.core.ObjBase):
        def create(self, name):
            thing = Thing(name)
            self.getDaemon().connect(thing)
            return thing.getProxy()
    daemon = gpyro.core.Daemon()
    daemon.setTransientsCleanupAge(0.3)
    print(daemon.connect(Factory(), "factory"), flush=True)
    daemon.requestLoop()
    """
    client = """
    import select, sys
    import gpyro.core, gpyro.errors
    factory = gpyro.core.getProxyForURI(sys.argv[1])
    used, unused = factory.create("used"), factory.create("unused")
    print("created", flush=True)
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        used.work()
    try:
        unused.work()
    except gpyro.errors.ProtocolError as x:
        print("gone")
    print(used.work())
    """
    with served(server) as running, program(client, running.uri) as user:
        assert user.line() == "created"
        assert running.server.line() == "reaped unused"
        user.say("")
        assert user.line() == "gone"
        # The factory has a name, so it stays although nobody has called it for longer.
        assert user.ended_well() == "worked\n"
        assert running.server.line() == "reaped used"
        running.client("import sys, gpyro.core; gpyro.core.getProxyForURI(sys.argv[1]).create('one more')")


DISCONNECTING = """
import gpyro.core
class Thing(gpyro.core.ObjBase):
    def work(self):
        return "worked"
class Keeper(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.things = [Thing() for i in range(4)]
    def connect(self):
        for i, thing in enumerate(self.things):
            self.getDaemon().connect(thing, "thing%d" % i)
        return [thing.getProxy() for thing in self.things]
    def disconnectObject(self):
        self.getDaemon().disconnect(self.things[0])
        try:
            self.things[0].getDaemon()
        except AttributeError:
            return "it has no daemon any more"
    def disconnectId(self):
        self.getDaemon().disconnect(self.things[1].GUID())
    def disconnectRest(self):
        for guid, name in self.getDaemon().getRegistered().items():
            if name and name.startswith("thing"):
                self.getDaemon().disconnect(guid)
    def disconnectUnknown(self):
        self.getDaemon().disconnect("no-such-id")
    def names(self):
        return sorted(name for name in daemon.getRegistered().values() if name)
    def quit(self):
        self.getDaemon().shutdown(True)
        return self.names()
daemon = gpyro.core.Daemon()
print(daemon.connect(Keeper(), "keeper"), flush=True)
daemon.requestLoop()
print(sorted(daemon.getRegistered().values()))
"""


def test_disconnecting_by_object_by_id_and_by_going_through_what_is_registered():
    client = """
    import sys
    import gpyro.core, gpyro.errors
    keeper = gpyro.core.getProxyForURI(sys.argv[1])
    things = keeper.connect()
    def working():
        count = 0
        for thing in things:
            try:
                thing.work()
                count += 1
            except gpyro.errors.ProtocolError:
                pass
        return count
    print(working(), keeper.names())
    print(keeper.disconnectObject(), working())
    keeper.disconnectId()
    print(working(), keeper.names())
    keeper.disconnectRest()
    print(working(), keeper.names())
    try:
        keeper.disconnectUnknown()
    except KeyError:
        print("not registered")
    print(keeper.quit())
    """
    with served(DISCONNECTING) as running:
        assert running.client(client).splitlines() == [
            "4 ['__daemon__', 'keeper', 'thing0', 'thing1', 'thing2', 'thing3']",
            "it has no daemon any more 3",
            "2 ['__daemon__', 'keeper', 'thing2', 'thing3']",
            "0 ['__daemon__', 'keeper']",
            "not registered",
            "['__daemon__']",  # shutdown(True) forgot the others at once, and yet this call was answered
        ]
        assert running.server.ended_well() == "['__daemon__']\n"


def test_the_daemon_itself_is_asked_for_its_objects():
    client = """
    import sys
    import gpyro.core, gpyro.constants, gpyro.errors
    uri = gpyro.core.PyroURI(sys.argv[1])
    daemon = gpyro.core.PyroURI(uri.address, gpyro.constants.INTERNAL_DAEMON_GUID, uri.port).getProxy()
    print(sorted(daemon.getRegistered().values()), daemon.ResolvePYROLOC("keeper") == uri.objectID)
    try:
        daemon.ResolvePYROLOC("nobody")
    except gpyro.errors.NamingError as x:
        print(x.args)
    """
    assert play(DISCONNECTING, client).splitlines() == [
        "['__daemon__', 'keeper'] True",
        "('no object found by this name', 'nobody')",
    ]


def test_what_runs_when_its_object_is_disconnected_is_finished():
    server = """
    import gevent
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def leave(self):
            daemon.disconnect(self)
            gevent.sleep(0.05)
            return "finished"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing(), "thing"), flush=True)
    try:
        daemon.requestLoop()
    except KeyboardInterrupt:
        print("Ctrl-C")
    finally:
        daemon.shutdown(True)
    """
    client = """
    import sys
    import gpyro.core, gpyro.errors
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    print(thing.leave())
    try:
        thing.leave()
    except gpyro.errors.ProtocolError:
        print("gone")
    """
    with served(server) as running:
        assert running.client(client) == "finished\ngone\n"
        assert running.ctrl_c() == "Ctrl-C\n"
