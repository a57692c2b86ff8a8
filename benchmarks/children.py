"""The processes that `core.py` starts: `python children.py ROLE CORE`, with the questions of `processes.py` on stdin.

Roles: `bare`, an echo server on gevent without any RPC; `gpyro`, a daemon; `client`, which loads either of them.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent import socket
from gevent.fileobject import FileObject
from gevent.lock import BoundedSemaphore
from gevent.queue import Queue
from gevent.server import StreamServer

from gpyro import core
from gpyro.test.load import Load

PAYLOAD = {"id": 12345, "name": "gpyro", "tags": ["a", "b", "c"], "ratio": 0.25}
# Larger ones cost the bare echo server speed: recv() allocates as much as it might receive.
RECEIVE = 4096
# Connections that are set up at the same time.
CONNECTING = 50

Call = Callable[[], object]


def say(answer: Any) -> None:
    """Answer the parent."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Bench(core.ObjBase):
    """What the daemon offers."""

    def echo(self, value: Any) -> Any:
        """Give the argument back."""
        return value

    def burn(self, seconds: float) -> None:
        """Use the processor for so long."""
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass


def echo_bytes(connection: socket.socket, address: object) -> None:
    """Serve one connection of the bare echo server."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(RECEIVE):
        connection.sendall(data)


def wait_for_end(questions: FileObject) -> None:
    """Return when the parent has closed our input."""
    while questions.readline():
        pass


def bare_server(questions: FileObject) -> None:
    """Echo bytes."""
    server = StreamServer(("127.0.0.1", 0), echo_bytes, backlog=1024)
    server.start()
    say({"address": server.server_port})
    wait_for_end(questions)
    server.stop(timeout=1)


def gpyro_server(questions: FileObject) -> None:
    """Echo values through a daemon with everything at its default."""
    daemon = core.Daemon(host="localhost", port=0, norange=1)
    uri = daemon.connect(Bench(), "bench")
    say({"address": str(uri)})

    def end_with_parent() -> None:
        wait_for_end(questions)
        daemon.shutdown()

    gevent.spawn(end_with_parent)
    try:
        daemon.requestLoop()
    finally:
        daemon.shutdown(True)


class Client:
    """Answers the questions of the parent; what it has connected stays connected until it ends."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Call]] = {}
        self._watch: Load | None = None
        self._watching: gevent.Greenlet | None = None

    def measure(self, kind: str, address: Any, callers: int, seconds: float, payload: int) -> Any:
        """Load a server: `kind` is bare, shared (all callers on one proxy) or private (a channel each)."""
        calls = self._kept.setdefault(f"{kind} {callers} {address}", [])
        if not calls:
            calls += connected(kind, address, callers, payload)
        expected: object = b"x" * payload if kind == "bare" else PAYLOAD
        result = Load(calls, expected).run(seconds, warm_up=min(0.3, seconds / 4))
        if result.errors or result.given_up or not result.calls:
            raise RuntimeError(f"{kind}: {result}")
        return result.as_dict()

    def hold(self, kind: str, address: Any, count: int) -> Any:
        """Open so many connections more, make one call on each and keep them."""
        self._kept.setdefault("held", []).extend(connected(kind, address, count, 69))
        return count

    def watch(self, address: Any) -> Any:
        """Begin to echo through a proxy of our own, one call after the other."""
        self._watch = Load(connected("shared", address, 1, 0), PAYLOAD)
        self._watching = gevent.spawn(self._watch.run, 600.0)
        return True

    def watched(self) -> Any:
        """End that, and tell how it went."""
        assert self._watch is not None
        assert self._watching is not None
        self._watch.stop()
        result = self._watching.get(timeout=60)
        if result.errors:
            raise RuntimeError(str(result))
        return result.as_dict()

    def flood(self, address: Any, count: int, seconds: float) -> Any:
        """Make so many calls that use the server's processor, all at once on one channel; tell how long they took."""
        proxy = core.getProxyForURI(address)
        proxy.echo(None)
        start = time.perf_counter()
        each([partial(proxy.burn, seconds)] * count, count, count * seconds * 10 + 30)
        proxy._release()
        return time.perf_counter() - start


def connected(kind: str, address: Any, count: int, payload: int) -> list[Call]:
    """So many callables, each an echo; the connections they use are open and were used once."""
    if kind == "shared":
        proxy = core.getProxyForURI(address)
        calls: list[Call] = [partial(echo_value, proxy)] * count
    else:
        calls = [bare_call(address, payload) if kind == "bare" else private_call(address) for _ in range(count)]
    each(calls, CONNECTING, 100)
    return calls


def each(calls: list[Call], together: int, seconds: float) -> None:
    """Run each of these once, at most so many at a time, and raise the first error or that it took too long."""
    turn, errors = BoundedSemaphore(together), list[Exception]()

    def run(call: Call) -> None:
        with turn:
            try:
                call()
            except Exception as error:  # raised once, below; from here gevent would print each
                errors.append(error)

    gevent.joinall(running := [gevent.spawn(run, call) for call in calls], timeout=seconds)
    if errors:
        raise errors[0]
    if not all(greenlet.dead for greenlet in running):
        raise TimeoutError(f"not done in {seconds:.0f} s")


def echo_value(proxy: Any) -> Any:
    """One call, written as a program would write it."""
    return proxy.echo(PAYLOAD)


def private_call(address: str) -> Call:
    """An echo through a proxy with a channel of its own."""
    proxy = core.getProxyForURI(address)
    proxy._setPrivateChannel(True)
    return partial(echo_value, proxy)


def bare_call(port: int, payload: int) -> Call:
    """An echo of bytes through a socket of its own."""
    connection: socket.socket | None = None
    data = b"x" * payload

    def call() -> bytes:
        nonlocal connection
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(data)
        answer = connection.recv(RECEIVE)
        while len(answer) < payload:
            more = connection.recv(RECEIVE)
            if not more:
                raise ConnectionError("closed by the bare echo server")
            answer += more
        return answer

    return call


def client(questions: FileObject) -> None:
    """Answer questions until the parent has closed our input."""
    lines: Queue[bytes] = Queue()

    def read() -> None:
        while line := questions.readline():
            lines.put(line)
        os._exit(0)  # also amid a question: nobody wants its answer any more

    gevent.spawn(read)
    me = Client()
    while True:
        question = json.loads(lines.get())
        try:
            answer = getattr(me, question.pop("do"))(**question)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        say(answer)


def main(role: str, processor: str) -> None:
    """Run one role."""
    if processor != "any":
        os.sched_setaffinity(0, {int(processor)})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    {"bare": bare_server, "gpyro": gpyro_server, "client": client}[role](FileObject(0, "rb", closefd=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
