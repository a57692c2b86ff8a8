"""Rounds: `handleRequests`, in this process."""

from __future__ import annotations

import os
import select
import socket
import tempfile
import threading
import time

import gevent
import pytest

from gpyro import core
from gpyro.errors import DaemonError, ProtocolError, PyroError
from tests.programs import program
from tests.support import eventually


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def echo(self, value):
        self.calls += 1
        return value

    def nap(self):
        gevent.sleep(0.02)
        self.calls += 1


LONG = 20.0
"""Seconds that no test waits for."""


@pytest.fixture
def driven():
    """An object whose daemon is driven by the test."""
    obj, daemon = Thing(), core.Daemon(port=0, norange=1)
    proxy = daemon.connect(obj).getProxy()
    yield obj, daemon, proxy
    daemon.closedown()
    proxy._release()


def took(function, *arguments):
    before = time.monotonic()
    function(*arguments)
    return time.monotonic() - before


def until(daemon, condition):
    limit = time.monotonic() + LONG
    while not condition():
        daemon.handleRequests(0.05)
        assert time.monotonic() < limit


def test_a_round_ends_with_the_first_request(driven):
    obj, daemon, proxy = driven
    call = gevent.spawn(proxy.echo, 1)
    assert took(daemon.handleRequests, LONG) < LONG
    until(daemon, call.ready)
    assert obj.calls == 1


def test_a_round_ends_after_its_time(driven):
    _, daemon, _ = driven
    assert took(daemon.handleRequests, 0.05) >= 0.045


def test_without_time_limit_a_request_ends_it(driven):
    obj, daemon, proxy = driven
    proxy._setTimeout(LONG)
    call = gevent.spawn(proxy.echo, 1)
    while not obj.calls:
        daemon.handleRequests()
    until(daemon, call.ready)
    assert call.get() == 1


def test_a_new_session_ends_it_although_nothing_is_called(driven):
    obj, daemon, proxy = driven
    connecting = gevent.spawn(proxy.adapter.rebindURI, 1)
    gevent.spawn(lambda: (connecting.join(), proxy._remote.sessions[threading.get_ident()].channel.flush()))
    assert took(daemon.handleRequests, LONG) < LONG
    assert obj.calls == 0


def test_it_returns_at_once_if_something_was_handled_since(driven):
    _obj, daemon, proxy = driven
    daemon.handleRequests(0)
    assert gevent.spawn(proxy.echo, 1).get(timeout=LONG) == 1  # the loop turns although nobody is in a round
    assert took(daemon.handleRequests, LONG) < LONG
    assert took(daemon.handleRequests, 0.05) >= 0.045  # and that was told once


def test_zero_looks_once_and_does_not_wait(driven):
    _obj, daemon, _proxy = driven
    reader, writer = os.pipe()
    os.write(writer, b"xx")
    seen = []
    daemon.handleRequests(0, [reader], lambda ready: seen.append(os.read(ready[0], 1)))
    assert seen == [b"x"]
    daemon.handleRequests(0, [reader], seen.append)
    assert seen == [b"x", [reader]]
    assert os.read(reader, 1) == b"x"
    daemon.handleRequests(0, [reader], seen.append)
    assert len(seen) == 2
    os.close(reader)
    os.close(writer)


def test_zero_often_serves(driven):
    _obj, daemon, proxy = driven
    call = gevent.spawn(proxy.echo, 1)
    for _ in range(1000):
        daemon.handleRequests(0)
        if call.ready():
            break
    assert call.get(timeout=0) == 1


def test_a_call_that_blocks_goes_on_in_later_rounds(driven):
    obj, daemon, proxy = driven
    call = gevent.spawn(proxy.nap)
    until(daemon, call.ready)
    assert obj.calls == 1


@pytest.mark.parametrize("kind", ["socket", "gevent socket", "pipe", "number", "file"])
def test_others(driven, kind):
    _, daemon, _ = driven
    if kind == "file":
        with tempfile.TemporaryFile() as file:
            seen = []
            assert took(daemon.handleRequests, LONG, [file], seen.append) < LONG  # always ready, as with select
            assert seen == [[file]]
        return
    if kind in ("pipe", "number"):
        reader, writer = os.pipe()
        other = os.fdopen(reader, "rb", 0) if kind == "pipe" else reader
        ends = [other, writer]
        write = lambda: os.write(writer, b"x")  # noqa: E731
    else:
        module = socket if kind == "socket" else gevent.socket
        other, end = module.socketpair()
        ends = [other, end]
        write = lambda: end.send(b"x")  # noqa: E731
    seen = []
    daemon.handleRequests(0.01, [other], seen.append)
    assert seen == []
    gevent.spawn(write)
    assert took(daemon.handleRequests, LONG, [other], seen.append) < LONG
    assert seen == [[other]]
    for thing in ends:
        os.close(thing) if isinstance(thing, int) else thing.close()


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/"])
@pytest.mark.parametrize("loop", ["libev-cext", "libuv-cffi"])
def test_what_the_system_cannot_wait_for_is_always_ready(path, loop):
    """As with select; a program that runs in the background has the null device as its input."""
    code = f"""
    import os
    from gpyro import core
    descriptor = os.open({path!r}, os.O_RDONLY)
    core.Daemon().handleRequests(20, [descriptor], lambda ready: print(ready == [descriptor]))
    """
    with program(code, environment={"GEVENT_LOOP": loop}) as running:
        assert running.ended_well() == "True\n"


def test_all_that_are_ready_come_in_one_list(driven):
    _, daemon, _ = driven
    pairs = [socket.socketpair() for _ in range(3)]
    for number in (0, 2):
        pairs[number][1].send(b"x")
    seen = []
    daemon.handleRequests(LONG, [one for one, _ in pairs], lambda ready: seen.append(set(ready)))
    assert seen == [{pairs[0][0], pairs[2][0]}]
    for pair in pairs:
        for one in pair:
            one.close()


def test_others_need_a_callback(driven):
    with pytest.raises(ProtocolError, match="callback required"):
        driven[1].handleRequests(0, [0])


@pytest.mark.parametrize("wrong", ["text", None, 3.5, -1, "closed"])
def test_what_cannot_be_waited_for(driven, wrong):
    _, daemon, proxy = driven
    if wrong == "closed":
        wrong = socket.socket()
        wrong.close()
    reader, writer = os.pipe()
    with pytest.raises(ProtocolError, match=r"^cannot wait for "):
        daemon.handleRequests(0, [reader, wrong], print)
    os.close(reader)
    os.close(writer)
    call = gevent.spawn(proxy.echo, 1)
    until(daemon, call.ready)


def test_an_error_in_the_callback_leaves_the_round_and_does_no_harm(driven):
    _, daemon, proxy = driven

    def callback(ready):
        raise KeyError("broken callback")

    with tempfile.TemporaryFile() as file, pytest.raises(KeyError, match="broken callback"):
        daemon.handleRequests(LONG, [file], callback)
    call = gevent.spawn(proxy.echo, 1)
    until(daemon, call.ready)


def test_a_closed_daemon_has_no_rounds(driven):
    _, daemon, _ = driven
    daemon.handleRequests(0)
    daemon.closedown()
    with pytest.raises(DaemonError, match="the daemon is closed"):
        daemon.handleRequests(0)
    with pytest.raises(DaemonError, match="the daemon is closed"):
        daemon.getServerSockets()


def test_closing_ends_a_round(driven):
    _, daemon, _ = driven
    gevent.spawn(daemon.closedown)
    assert took(daemon.handleRequests, LONG) < LONG


def test_a_round_belongs_to_the_daemons_thread(driven):
    _, daemon, _ = driven
    daemon.handleRequests(0)
    failed = []

    def elsewhere():
        for use in (lambda: daemon.handleRequests(0), daemon.getServerSockets):
            try:
                use()
            except DaemonError as error:
                failed.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert failed == ["the daemon runs in another thread"] * 2


def test_a_loop_callback_cannot_wait(driven):
    _, daemon, _ = driven
    daemon.handleRequests(0)
    failed = []

    def in_the_hub():
        try:
            daemon.handleRequests(0)
        except PyroError as error:
            failed.append(str(error))

    gevent.get_hub().loop.run_callback(in_the_hub)
    eventually(lambda: failed)
    assert "a loop callback cannot wait" in failed[0]


def test_the_sockets_are_the_same_each_time_and_closed_with_the_daemon(driven):
    _, daemon, _ = driven
    (first,) = daemon.getServerSockets()
    (second,) = daemon.getServerSockets()
    assert first is second
    assert first.fileno() == gevent.get_hub().loop.fileno()
    daemon.start()
    (embedded,) = daemon.getServerSockets()
    assert embedded.fileno() != gevent.get_hub().loop.fileno()  # which the loop that runs could not wait for
    daemon.closedown()
    assert first.fileno() == -1


def test_ctrl_c_reaches_the_main_greenlet_although_another_one_had_a_round(driven):
    _, daemon, _ = driven
    daemon.handleRequests(0)
    other = gevent.spawn(daemon.handleRequests, 0.01)
    other.link(lambda _: reached.append(daemon._rounds.interrupt()))  # in the hub, as a signal's handler is
    reached = []
    with pytest.raises(KeyboardInterrupt):
        daemon.handleRequests(LONG)
    assert reached == [True]


def test_what_is_handled_in_the_last_look_of_a_round_is_still_told_of(driven):
    _, daemon, _ = driven
    daemon.start()
    (sock,) = daemon.getServerSockets()
    rounds = daemon._rounds
    look = rounds._state.poll

    def poll():
        look()
        rounds._on_activity()  # a request arrived

    daemon.handleRequests(0)
    rounds._state.poll = poll
    daemon.handleRequests(0.001)
    del rounds._state.poll
    assert select.select([sock.event], [], [], 0)[0]
