from __future__ import annotations

import gevent
import gevent.event
import pytest

from gpyro import core
from gpyro.errors import PyroError
from gpyro.service_starter import ServiceDaemon, ServiceStarter, say
from tests.support import eventually, uri_of


class Service(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.seen = []
        self.leave = gevent.event.Event()

    def wait(self):
        self.seen.append("waiting")
        self.leave.wait()

    def let_go(self):
        self.seen.append("let go")
        self.leave.set()

    def close(self):
        self.seen.append("closed")


class Starter(ServiceStarter):
    _what = "Test Server"
    _exposure = "do harm. Ask for a passphrase"

    def initialize(self):
        daemon = ServiceDaemon(port=0, norange=1)
        self._guard(daemon, None, 0)
        self.server, self.daemon = Service(), daemon
        daemon.server = self.server
        self.uri = daemon.connect(self.server)


def test_calls_that_wait_are_let_go_before_the_daemon_stops(capsys):
    starter = Starter()
    assert not starter.mustContinueRunning()
    starter.begin()
    server = starter.server
    waiting = gevent.spawn(core.getProxyForURI(uri_of(starter.daemon, server)).wait)
    eventually(lambda: server.seen)
    assert starter.mustContinueRunning()
    starter.shutdown()
    waiting.get(timeout=30)
    eventually(lambda: not starter.mustContinueRunning() and server.seen[-1] == "closed")
    assert server.seen[:2] == ["waiting", "let go"]
    assert capsys.readouterr().out == "Test Server started.\n"
    with pytest.raises(PyroError, match="the test server was not begun, or is stopped"):
        starter.getServerSockets()


def test_a_passphrase_is_asked_for(capsys):
    starter = Starter("secret")
    starter.begin()
    assert "Requiring connection authentication." in capsys.readouterr().out
    assert starter.waitUntilStarted(0)
    starter.stop()
    starter.stop()


def test_where_nobody_reads_nothing_is_said(monkeypatch):
    def closed(*arguments, **keywords):
        raise ValueError("I/O operation on closed file")

    monkeypatch.setattr("builtins.print", closed)
    say("anything")
