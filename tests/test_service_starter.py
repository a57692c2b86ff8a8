from __future__ import annotations

import contextlib

import gevent
import gevent.event
import pytest
from gevent import monkey

from gpyro import config, core
from gpyro.errors import DaemonError, PyroError
from gpyro.service_starter import ServiceDaemon, ServiceStarter, say
from tests.support import eventually, uri_of

# Real ones, also in a patched process.
Thread, Flag = monkey.get_original("threading", "Thread"), monkey.get_original("threading", "Event")


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


# ---- in other threads


@contextlib.contextmanager
def started(starter):
    """Have it start in another thread; gives what came of that."""
    outcome = []

    def run():
        try:
            starter.start()
            outcome.append("ended")
        except Exception as error:
            outcome.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield outcome
    finally:
        starter.shutdown()
        eventually(lambda: not thread.is_alive())
        thread.join()


class Halting(Starter):
    """Stands still in a step of starting until it is told to go on."""

    def __init__(self, step):
        super().__init__()
        self.step, self.there, self.go_on = step, Flag(), Flag()

    def halt(self, step):
        if step == self.step:
            self.there.set()
            self.go_on.wait(10)

    def initialize(self):
        self.halt("before the daemon")
        super().initialize()
        self.halt("before serving")

    def _begin_to_serve(self):
        self.halt("serving")


@pytest.mark.parametrize("step", ["before the daemon", "before serving", "serving"])
def test_what_is_ended_while_it_starts_ends(step, capsys):
    starter = Halting(step)
    with started(starter) as outcome:
        eventually(starter.there.is_set)
        starter.shutdown()
        starter.go_on.set()
        eventually(lambda: outcome == ["ended"])
    assert not starter.mustContinueRunning()
    assert "Test Server gracefully stopped." in capsys.readouterr().out


def test_what_is_ended_before_it_starts_does_not_start(capsys):
    starter = Starter()
    waiting = gevent.spawn(starter.waitUntilStarted)
    starter.shutdown()
    with gevent.Timeout(30):
        starter.start()
    assert waiting.get(timeout=30) is False
    assert capsys.readouterr().out == ""
    starter.shutdown()  # it has ended, so this is no word for the next start
    with started(starter):
        assert starter.waitUntilStarted(10) is True


@pytest.mark.parametrize("go_on", [ServiceStarter.getServerSockets, ServiceStarter.handleRequests])
@pytest.mark.parametrize("when", ["before it is made", "before the first round"])
def test_what_is_ended_before_a_foreign_loop_drives_it_does_not_serve(go_on, when):
    starter = Starter()
    if when == "before it is made":
        starter.shutdown()
    starter.initialize()
    if when == "before the first round":
        starter.shutdown()
    with pytest.raises(PyroError, match="is stopped"):
        go_on(starter)
    assert not starter.mustContinueRunning()
    starter.initialize()
    assert starter.getServerSockets()
    starter.stop()


def test_what_is_ended_before_it_begins_does_not_begin():
    starter = Starter()
    starter.shutdown()
    with pytest.raises(PyroError, match="is stopped"):
        starter.begin()
    starter.begin()
    starter.stop()


def test_who_waits_is_told_that_it_could_not_be_started(monkeypatch):
    starter = Halting("before the daemon")
    waiting = gevent.spawn(starter.waitUntilStarted)
    with started(starter) as outcome:
        eventually(starter.there.is_set)
        assert not waiting.ready()
        with monkeypatch.context() as patched:
            patched.setattr(config, "PYRO_HOST", "no.such.host.invalid")
            starter.go_on.set()
            assert waiting.get(timeout=10) is False
            eventually(lambda: outcome)
        assert isinstance(outcome[0], DaemonError)
        assert starter.waitUntilStarted() is False
    with started(starter):  # once more
        assert starter.waitUntilStarted(10) is True
    assert starter.waitUntilStarted(0) is False


def test_a_second_start_does_not_disturb_the_first():
    class Once(Starter):
        def initialize(self):
            if self.daemon is not None:
                raise PyroError("it runs already")
            super().initialize()

    starter = Once()
    starter.begin()
    for again in (starter.begin, starter.start):
        with pytest.raises(PyroError, match="runs already"):
            again()
    assert starter.waitUntilStarted()
    starter.stop()
    assert not starter.waitUntilStarted(0)
