"""A daemon's loop and its end, in this process."""

from __future__ import annotations

import os
import signal
import threading
import time

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core
from gpyro.errors import CallRefusedError, DaemonError, NotSentError, ProtocolError, PyroError
from tests.support import eventually, serving, turns


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.began, self.ended = [], []
        self.go_on = Event()

    def echo(self, value):
        return value

    def wait(self, number=0):
        self.began.append(number)
        self.go_on.wait()
        self.ended.append(number)
        return number

    @gpyro.oneway
    def note(self, number):
        self.wait(number)

    def stop_daemon(self, how):
        getattr(self.getDaemon(), how)()
        return "stopping"


def make():
    return core.Daemon(host="127.0.0.1", norange=1)


@pytest.fixture
def looping():
    """An object whose daemon is to be run by the test, in this or another greenlet or thread."""
    obj, daemon = Thing(), make()
    proxy = daemon.connect(obj).getProxy()
    yield obj, daemon, proxy
    obj.go_on.set()
    daemon.closedown()
    proxy._release()


# requestLoop


def test_the_loop_serves_until_shutdown(looping):
    _, daemon, proxy = looping
    loop = gevent.spawn(daemon.requestLoop)
    assert [proxy.echo(number) for number in range(3)] == [0, 1, 2]
    assert not loop.ready()
    daemon.shutdown()
    loop.get(timeout=30)
    with pytest.raises(NotSentError):
        proxy.echo(1)


@pytest.mark.parametrize("how", ["shutdown", "stop"])
@pytest.mark.parametrize("embedded", [False, True])
def test_a_method_may_end_its_daemon_and_is_answered(looping, how, embedded):
    _, daemon, proxy = looping
    loop = gevent.spawn(daemon.start if embedded else daemon.requestLoop)
    with gevent.Timeout(30):  # a call that waits for itself would use up the grace, which is longer
        assert proxy.stop_daemon(how) == "stopping"
        loop.get()
        eventually(lambda: "closed" in repr(daemon))


def test_shutdown_before_the_loop_ends_it_at_once(looping):
    _, daemon, _ = looping
    daemon.shutdown()
    with gevent.Timeout(30):
        daemon.requestLoop()
    daemon.shutdown()  # again, and after the end
    daemon.stop()
    daemon.closedown()


def test_the_condition_ends_the_loop_when_something_arrived(looping):
    obj, daemon, proxy = looping
    asked = []

    def condition():
        asked.append(len(obj.ended))
        return len(obj.ended) < 2

    obj.go_on.set()
    loop = gevent.spawn(daemon.requestLoop, condition, timeout=100)
    proxy.wait()
    turns()
    assert not loop.ready()
    proxy.wait()
    loop.get(timeout=30)
    assert asked[0] == 0
    assert len(asked) <= 4
    # The daemon is still there, and goes on answering as long as a loop runs.
    assert proxy.echo(2) == 2
    loop = gevent.spawn(daemon.requestLoop)
    assert proxy.echo(3) == 3
    daemon.shutdown()
    loop.get(timeout=30)


def test_the_condition_is_looked_at_every_timeout(looping):
    _, daemon, _ = looping
    rounds = []
    began = time.monotonic()
    daemon.requestLoop(lambda: rounds.append(1) or len(rounds) < 5, 0.02)
    assert len(rounds) == 5
    assert 0.08 <= time.monotonic() - began < 30


def test_a_false_condition_serves_nothing(looping):
    _, daemon, _ = looping
    daemon.requestLoop(lambda: False, timeout=100)


def test_an_error_in_the_condition_leaves_the_loop(looping):
    _, daemon, proxy = looping

    def condition():
        raise KeyError("broken condition")

    with pytest.raises(KeyError, match="broken condition"):
        daemon.requestLoop(condition)
    assert proxy.echo(1) == 1


@pytest.mark.parametrize("kind", ["object", "number"])
def test_others_are_waited_for_and_given_to_the_callback(looping, kind):
    _, daemon, proxy = looping
    reader, writer = os.pipe()
    second_reader, second_writer = os.pipe()
    os.set_blocking(reader, False)
    if kind == "object":
        others = [os.fdopen(reader, "rb", 0), os.fdopen(second_reader, "rb", 0)]
    else:
        others = [reader, second_reader]
    rounds = []

    def callback(ready):
        assert gevent.getcurrent() is loop
        for thing in ready:
            number = thing if kind == "number" else thing.fileno()
            rounds.append((others.index(thing), os.read(number, 100)))
        if any(data == b"end" for _, data in rounds):
            daemon.shutdown()

    loop = gevent.spawn(daemon.requestLoop, lambda: True, None, others, callback)
    assert proxy.echo(1) == 1
    assert rounds == []
    os.write(writer, b"first")
    eventually(lambda: rounds == [(0, b"first")])
    os.write(second_writer, b"second")
    eventually(lambda: rounds == [(0, b"first"), (1, b"second")])
    assert proxy.echo(2) == 2
    os.write(writer, b"end")
    loop.get(timeout=30)
    assert rounds[2:] == [(0, b"end")]
    os.close(writer)
    os.close(second_writer)
    if kind == "object":
        for thing in others:
            thing.close()
    else:
        os.close(reader)
        os.close(second_reader)


def test_others_need_a_callback(looping):
    _, daemon, _ = looping
    with pytest.raises(ProtocolError, match="callback required"):
        daemon.requestLoop(others=[0])


def test_an_error_in_the_callback_leaves_the_loop(looping):
    _, daemon, proxy = looping
    reader, writer = os.pipe()
    os.write(writer, b"x")

    def callback(ready):
        raise KeyError("broken callback")

    with pytest.raises(KeyError, match="broken callback"):
        daemon.requestLoop(others=[reader], callback=callback)
    assert proxy.echo(1) == 1
    os.close(reader)
    os.close(writer)


# shutdown, stop, closedown, with


def test_shutdown_with_disconnect_forgets_all_objects(looping):
    obj, daemon, _ = looping
    loop = gevent.spawn(daemon.requestLoop)
    turns()
    assert len(daemon.getRegistered()) == 2
    daemon.shutdown(True)
    assert len(daemon.getRegistered()) == 1
    assert "_pyro_daemon" not in vars(obj)
    loop.get(timeout=30)


def test_shutdown_of_a_started_daemon(looping):
    obj, daemon, proxy = looping
    daemon.start()
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    daemon.shutdown()  # drains, and does not wait for it
    turns()
    obj.go_on.set()
    assert waiting.get() == 1
    with pytest.raises(NotSentError):
        eventually(lambda: proxy.echo(1) != 1)


def test_stop_finishes_running_calls_and_refuses_new_ones(looping):
    obj, daemon, proxy = looping
    daemon.start()
    late = daemon.getProxyForObj(obj)
    waiting = [gevent.spawn(proxy.wait, number) for number in range(3)]
    eventually(lambda: len(obj.began) == 3)
    stopping = gevent.spawn(daemon.stop, 60)
    turns()
    for refused in (proxy, late):
        with pytest.raises((CallRefusedError, NotSentError)):
            refused.wait("refused")
    assert not stopping.ready()
    obj.go_on.set()
    assert [call.get() for call in waiting] == [0, 1, 2]
    stopping.get(timeout=30)
    assert obj.began == [0, 1, 2]
    assert not daemon.connections
    daemon.stop()
    late._release()


@pytest.mark.parametrize("oneway", ["client", "server"])
def test_stop_finishes_one_way_calls_too(looping, oneway):
    obj, daemon, proxy = looping
    daemon.start()
    if oneway == "client":
        proxy._setOneway("wait")
        proxy.wait(1)
    else:
        proxy.note(1)
    eventually(lambda: obj.began)
    stopping = gevent.spawn(daemon.stop, 60)
    turns(20)
    assert not stopping.ready()
    obj.go_on.set()
    stopping.get(timeout=30)
    assert obj.ended == [1]


def test_what_runs_longer_than_the_grace_is_cut_off(looping):
    obj, daemon, proxy = looping
    daemon.start()
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    began = time.monotonic()
    daemon.stop(0.05)
    assert 0.04 < time.monotonic() - began < 30
    gevent.joinall([waiting])
    assert isinstance(waiting.exception, PyroError)
    assert waiting.exception.may_have_run


def test_without_grace_it_ends_at_once(looping):
    obj, daemon, proxy = looping
    daemon.start()
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    with gevent.Timeout(30):  # the call would go on for ever
        daemon.stop(0)
    gevent.joinall([waiting])
    assert waiting.exception.may_have_run


def test_stop_by_many_waits_for_the_one_end(looping):
    obj, daemon, proxy = looping
    daemon.start()
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    stopping = [gevent.spawn(daemon.stop, 60) for _ in range(3)]
    turns(5)
    assert not any(stop.ready() for stop in stopping)
    obj.go_on.set()
    gevent.joinall(stopping, raise_error=True, timeout=30)
    assert waiting.get() == 1


def test_closedown_closes_everything_at_once(looping):
    obj, daemon, proxy = looping
    daemon.start()
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    daemon.closedown()
    gevent.joinall([waiting])
    assert waiting.exception.may_have_run
    daemon.closedown(nolog=1)
    for use in (daemon.start, daemon.requestLoop):
        with pytest.raises(DaemonError, match="closed"):
            use()


def test_the_with_block_serves_and_stops():
    obj = Thing()
    with make() as daemon:
        proxy = daemon.connect(obj).getProxy()
        assert proxy.echo(1) == 1
    with pytest.raises(NotSentError):
        proxy.echo(2)
    with pytest.raises(KeyError, match="out of the block"), make():
        raise KeyError("out of the block")
    proxy._release()


def test_its_words_for_itself():
    daemon = make()
    assert repr(daemon) == f"<Daemon at 127.0.0.1:{daemon.port} listening>"
    with daemon:
        assert "running" in repr(daemon)
    assert "closed" in repr(daemon)


# From other OS threads and signal handlers


def in_thread(function, *arguments):
    """Run it in an OS thread, and wait for it while the loop here goes on."""
    outcome = []

    def run():
        try:
            outcome.append(function(*arguments))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: not thread.is_alive())
    return outcome[0]


def test_made_here_and_run_in_another_thread(looping):
    obj, daemon, proxy = looping
    obj.go_on.set()
    thread = threading.Thread(target=daemon.requestLoop)
    thread.start()
    assert [proxy.echo(number) for number in range(10)] == list(range(10))
    other = Thing()
    uri = daemon.connect(other)  # from this thread
    again = uri.getProxy()
    assert again.echo(1) == 1
    daemon.disconnect(other)
    with pytest.raises(ProtocolError):
        again.echo(2)
    with pytest.raises(DaemonError, match="another thread"):
        daemon.start()
    again._release()
    daemon.shutdown()
    eventually(lambda: not thread.is_alive())
    with pytest.raises(NotSentError):
        proxy.echo(3)


def test_shutdown_right_after_the_thread_was_started():
    for _ in range(20):
        daemon = make()
        thread = threading.Thread(target=daemon.requestLoop)
        thread.start()
        daemon.shutdown()
        eventually(lambda thread=thread: not thread.is_alive())
        daemon.closedown()


def test_run_here_and_used_from_another_thread(looping):
    obj, daemon, proxy = looping
    daemon.start()
    other = Thing()
    uri = in_thread(daemon.connect, other)
    again = uri.getProxy()
    assert again.echo(1) == 1
    assert in_thread(again.echo, 2) == 2
    assert in_thread(daemon.disconnect, other) is None
    again._release()
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    assert in_thread(daemon.shutdown) is None
    turns()
    obj.go_on.set()
    assert waiting.get() == 1
    with pytest.raises(NotSentError):
        eventually(lambda: proxy.echo(1) != 1)


def test_stop_from_another_thread_drains_too(looping):
    obj, daemon, proxy = looping
    daemon.start()
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    thread = threading.Thread(target=daemon.stop, args=(10,))
    thread.start()
    turns(5)
    assert not waiting.ready()
    obj.go_on.set()
    assert waiting.get() == 1
    eventually(lambda: not thread.is_alive())


def test_shutdown_from_a_signal_handler(looping):
    _, daemon, _ = looping
    connected = []

    def handler(number, frame):
        other = Thing()
        connected.append(daemon.connect(other))
        daemon.disconnect(other)
        daemon.shutdown()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        killing = gevent.spawn_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
        with gevent.Timeout(30):
            daemon.requestLoop(timeout=None)
        killing.get()
        assert len(connected) == 1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_handler_of_sigterm_is_only_there_while_the_loop_runs(looping):
    _, daemon, _ = looping
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    loop = gevent.spawn(daemon.requestLoop)
    turns()
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGTERM)
    loop.get(timeout=30)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_programs_own_handler_of_sigterm_is_left_alone(looping):
    _, daemon, _ = looping
    own = []
    signal.signal(signal.SIGTERM, lambda number, frame: own.append(number))
    try:
        loop = gevent.spawn(daemon.requestLoop)
        turns()
        os.kill(os.getpid(), signal.SIGTERM)
        eventually(lambda: own)
        assert not loop.ready()
        daemon.shutdown()
        loop.get(timeout=30)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_two_loops_in_one_thread_end_each_for_itself():
    daemons = [make() for _ in range(2)]
    loops = [gevent.spawn(daemon.requestLoop) for daemon in daemons]
    turns()
    daemons[0].shutdown()
    loops[0].get(timeout=30)
    turns()
    assert not loops[1].ready()
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    daemons[1].shutdown()
    loops[1].get(timeout=30)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_serving_again_after_a_stop_needs_a_new_daemon():
    obj = Thing()
    with serving(obj) as first:
        first.stop()
        with serving(obj) as second:
            proxy = second.getProxyForObj(obj)
            assert proxy.echo(1) == 1
            proxy._release()
