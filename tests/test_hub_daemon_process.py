"""A daemon's end in a process of its own: Ctrl-C, SIGTERM, the interpreter's exit."""

from __future__ import annotations

import os
import signal

import gevent
import pytest

from gpyro import core
from gpyro.errors import CallRefusedError, NotSentError
from tests.programs import program
from tests.support import eventually, turns

SERVER = """
import os, sys, time, signal
import gevent
from gpyro import core

class Thing(core.ObjBase):
    def echo(self, value):
        return value
    def wait(self, seconds):
        print("waiting", flush=True)
        gevent.sleep(seconds)
        return "finished"
    def fork(self):
        there, here = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(here, b"!")
                signal.pause() if sys.argv[1:] == ["raw"] else time.sleep(60)
            finally:
                os._exit(7)
        os.read(there, 1)  # a signal that comes before the fork is over in the child is forgotten by Python
        os.close(there)
        os.close(here)
        return child
    def reap(self, child):
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.WIFSIGNALED(status) and os.WTERMSIG(status)
            gevent.sleep(0.005)

daemon = core.Daemon()
print(daemon.connect(Thing()), flush=True)
try:
    daemon.requestLoop()
    print("the loop ended", flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
    daemon.shutdown()
finally:
    print("after the loop", flush=True)
"""


@pytest.mark.parametrize("patched", [False, True])
def test_ctrl_c_ends_an_idle_loop(patched):
    with program(SERVER, patched=patched) as server:
        proxy = core.getProxyForURI(server.line())
        assert proxy.echo(1) == 1
        server.send_signal(signal.SIGINT)
        assert server.line() == "KeyboardInterrupt"
        code, out, err = server.end()
        assert (code, out) == (0, "after the loop\n")
        assert err == ""  # neither gevent nor gpyro has anything to say
        eventually(lambda: not proxy.adapter.connected())
        with pytest.raises(NotSentError):
            proxy.echo(2)


@pytest.mark.parametrize("patched", [False, True])
def test_sigterm_finishes_running_calls_and_refuses_new_ones(patched):
    with program(SERVER, patched=patched) as server:
        proxy = core.getProxyForURI(server.line())
        running = [gevent.spawn(proxy.wait, 0.3) for _ in range(3)]
        for _ in running:
            assert server.line() == "waiting"
        server.send_signal(signal.SIGTERM)
        eventually(lambda: not proxy.adapter.connected())  # it said that it goes away
        with pytest.raises((CallRefusedError, NotSentError)):
            proxy.echo(1)
        assert [call.get(timeout=30) for call in running] == ["finished"] * 3
        assert server.line() == "the loop ended"
        assert server.ended_well() == "after the loop\n"
        proxy._release()


def test_sigterm_of_an_idle_server():
    with program(SERVER) as server:
        proxy = core.getProxyForURI(server.line())
        assert proxy.echo(1) == 1  # the loop runs
        server.send_signal(signal.SIGTERM)
        assert server.line() == "the loop ended"
        assert server.ended_well() == "after the loop\n"
        proxy._release()


def test_sigterm_gives_running_calls_their_grace_and_no_more():
    with program(SERVER, environment={"GPYRO_DRAIN_TIMEOUT": "0.1"}) as server:
        proxy = core.getProxyForURI(server.line())
        running = gevent.spawn(proxy.wait, 100)
        assert server.line() == "waiting"
        server.send_signal(signal.SIGTERM)
        gevent.joinall([running], timeout=30)
        assert running.exception.may_have_run
        assert server.line() == "the loop ended"
        server.ended_well()


def test_a_forked_child_dies_of_sigterm_as_others_do():
    with program(SERVER) as server:
        proxy = core.getProxyForURI(server.line())
        child = proxy.fork()
        reaping = gevent.spawn(proxy.reap, child)
        turns()
        os.kill(child, signal.SIGTERM)
        assert reaping.get(timeout=30) == signal.SIGTERM
        assert proxy.echo(1) == 1
        proxy._release()
        server.send_signal(signal.SIGTERM)
        assert server.line() == "the loop ended"
        server.ended_well()


def test_a_program_that_just_ends_with_a_started_daemon_ends_well():
    code = """
    import gevent
    from gpyro import core
    class Thing(core.ObjBase):
        def end(self):
            print("ending", flush=True)
            ended.set()
    from gevent.event import Event
    ended = Event()
    daemon = core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.start()
    ended.wait()
    """
    with program(code) as server:
        proxy = core.getProxyForURI(server.line())
        calling = gevent.spawn(proxy.end)
        assert server.line() == "ending"
        gevent.joinall([calling])
        code, out, errors = server.end()
        assert (code, out, errors) == (0, "", "")
        proxy._release()


def test_a_program_that_never_runs_its_daemon_ends_well():
    code = """
    from gpyro import core
    daemon = core.Daemon()
    daemon.connect(core.ObjBase(), "x")
    other = core.Daemon()
    print("done", flush=True)
    """
    with program(code) as server:
        assert server.line() == "done"
        code, out, errors = server.end()
        assert (code, out, errors) == (0, "", "")


def test_two_daemons_in_two_threads_of_an_unpatched_process():
    code = """
    import threading, sys
    from gpyro import core
    class Thing(core.ObjBase):
        def echo(self, value):
            return value, threading.current_thread().name
        def pass_on(self, value):
            return self.other.echo(value)
        def end(self):
            self.getDaemon().shutdown()
    things = [Thing(), Thing()]
    daemons = [core.Daemon() for _ in things]
    for daemon, thing in zip(daemons, things):
        print(daemon.connect(thing), flush=True)
    for thing, other in zip(things, reversed(things)):
        thing.other = other.getProxy()
    threads = [threading.Thread(target=daemon.requestLoop, name=f"loop {i}") for i, daemon in enumerate(daemons)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("all ended", flush=True)
    """
    with program(code) as server:
        first, second = core.getProxyForURI(server.line()), core.getProxyForURI(server.line())
        assert first.echo(1) == (1, "loop 0")
        assert second.echo(2) == (2, "loop 1")
        together = [gevent.spawn(proxy.pass_on, number) for number in range(50) for proxy in (first, second)]
        assert [call.get() for call in together] == [(n, f"loop {1 - i}") for n in range(50) for i in (0, 1)]
        first.end()
        assert second.echo(3) == (3, "loop 1")
        second.end()
        assert server.line() == "all ended"
        server.ended_well()
