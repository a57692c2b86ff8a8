"""Who may connect, in the ways of Pyro 3's examples: passphrases, user names, hosts that an operator judges."""

from __future__ import annotations

from tests.porting.plays import play, served
from tests.programs import program


def test_passphrases():
    server = """
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def who(self):
            return repr(self.getLocalStorage().caller.identity)
    daemon = gpyro.core.Daemon()
    daemon.setAllowedIdentifications(["s3cr3t", "another one"])
    print(daemon.connect(Thing(), "thing"), flush=True)
    try:
        daemon.setAllowedIdentifications("s3cr3t")
    except TypeError as x:
        print(x, flush=True)
    other = gpyro.core.Daemon()         # which asks for nothing
    print(other.connect(Thing(), "thing"), flush=True)
    other.start()
    daemon.requestLoop()
    """
    client = """
    import copy, sys
    import gpyro.core
    from gpyro.errors import ConnectionDeniedError
    for ident in ("s3cr3t", "another one", None, "wrong"):
        thing = gpyro.core.getProxyForURI(sys.argv[1])
        if ident:
            thing._setIdentification(ident)
        try:
            print(thing.who(), copy.copy(thing).who())
        except ConnectionDeniedError as x:
            print(x.args[0].split(":")[0])
    print(gpyro.core.getProxyForURI(sys.argv[2]).who())
    """
    with served(server) as running:
        assert running.server.line() == "ids must be a list"
        assert running.client(client, running.server.line()).splitlines() == [
            *["'' ''"] * 2,
            *["security reasons"] * 2,
            "None",
        ]


def test_a_client_with_a_passphrase_wants_a_server_that_knows_it():
    server = """
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def hello(self):
            return "hello"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing(), "thing"), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    from gpyro.errors import ConnectionDeniedError
    from gpyro.protocol import DefaultConnValidator
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    thing._setIdentification("s3cr3t")
    try:
        thing.hello()
    except ConnectionDeniedError as x:
        print("did not prove" in x.args[0])
    class Trusting(DefaultConnValidator):
        def acceptIdentification(self, daemon, connection, token, challenge):
            print(daemon, token.given, token.proved, connection.addr[0])
            return 1, 0
    thing._setNewConnectionValidator(Trusting())
    print(thing.hello())
    """
    assert play(server, client).splitlines() == ["True", "None True False 127.0.0.1", "hello"]


USERS = """
import gpyro.core
from gpyro.constants import DENIED_SECURITY
from gpyro.protocol import DefaultConnValidator
class Users(DefaultConnValidator):
    users = {"ann": "apple", "bob": "banana"}
    def acceptIdentification(self, daemon, connection, token, challenge):
        if token.proves(self.users.get(token.user)):
            connection.login = token.user           # stored on the connection, for the methods
            return 1, 0
        return 0, DENIED_SECURITY
class Thing(gpyro.core.ObjBase):
    def who(self):
        caller = self.getLocalStorage().caller
        return caller.login, caller.identity
daemon = gpyro.core.Daemon()
daemon.setNewConnectionValidator(Users())
print(isinstance(daemon.getNewConnectionValidator(), Users), flush=True)
print(daemon.connect(Thing(), "thing"), flush=True)
daemon.requestLoop()
"""


def test_users_with_passwords():
    client = """
    import sys
    import gpyro.core
    from gpyro.errors import ConnectionDeniedError
    for login in (("ann", "apple"), ("bob", "banana"), ("ann", "banana"), ("eve", "apple")):
        thing = gpyro.core.getProxyForURI(sys.argv[1])
        thing._setIdentification(login)
        try:
            print(thing.who())
        except ConnectionDeniedError as x:
            print(x.args[0].split(":")[0])
    """
    with program(USERS) as server:
        assert server.line() == "True"
        with program(client, server.line()) as user:
            assert user.ended_well().splitlines() == [
                "('ann', 'ann')",
                "('bob', 'bob')",
                *["security reasons"] * 2,
            ]


def test_hosts_that_the_operator_is_asked_about():
    server = """
    import sys
    import gevent.os
    import gpyro.core
    from gpyro.constants import DENIED_HOSTBLOCKED
    from gpyro.protocol import DefaultConnValidator
    class AskingValidator(DefaultConnValidator):
        def acceptHost(self, daemon, connection):
            print("connection from", connection.addr[0], daemon.port > 0, flush=True)
            answer = gevent.os.tp_read(0, 100)          # the operator's; others are served meanwhile
            return (1, 0) if answer.startswith(b"y") else (0, DENIED_HOSTBLOCKED)
    class Thing(gpyro.core.ObjBase):
        def hello(self):
            return "hello"
    daemon = gpyro.core.Daemon()
    daemon.setNewConnectionValidator(AskingValidator())
    print(daemon.connect(Thing(), "thing"), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core, gpyro.errors
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    try:
        print(thing.hello())
    except gpyro.errors.ConnectionDeniedError as x:
        print(x.args[0])
    """
    with served(server) as running:
        for answer, outcome in (("yes", "hello\n"), ("no", "host blocked\n")):
            with program(client, running.uri) as user:
                assert running.server.line() == "connection from 127.0.0.1 True"
                running.server.say(answer)
                assert user.ended_well() == outcome


def test_a_wide_bind_needs_an_answer_to_who_may_connect():
    server = """
    import sys
    import gpyro.core, gpyro.errors
    daemon = gpyro.core.Daemon(host="0.0.0.0")
    try:
        daemon.requestLoop()
    except gpyro.errors.DaemonError as x:
        print("setAllowedIdentifications" in str(x), "PYRO_ALLOW_OPEN" in str(x))
    daemon.setAllowedIdentifications(["s3cr3t"])
    daemon.handleRequests(0)
    print("with a passphrase it runs")
    try:
        daemon.setAllowedIdentifications(None)
    except gpyro.errors.DaemonError:
        print("and keeps it")
    """
    with program(server) as running:
        assert running.ended_well().splitlines() == ["True True", "with a passphrase it runs", "and keeps it"]
