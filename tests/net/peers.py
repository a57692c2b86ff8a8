"""Both ends of a channel for tests: pairs of real channels, servers by hand, and a client that sends what it likes."""

from __future__ import annotations

import _socket
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import gevent
import gevent.socket

from gpyro.errors import WireError
from gpyro.net.channel import Channel
from gpyro.net.hub import hub_state
from gpyro.values import serializer_by_name
from gpyro.wire.connection import Connection
from gpyro.wire.frames import Frame, Kind, pack
from gpyro.wire.hello import Hello

CODEC = serializer_by_name("msgpack")
PATIENCE = 30.0

SERVING = Hello(serializers=("msgpack",), calls=1024, size=16 << 20, sessions=1000)
CALLING = Hello(serializers=("msgpack",))


class Owner:
    """Exchanges the hello and remembers what the channel tells it."""

    def __init__(self) -> None:
        self.idle = 0
        self.ended: list[str] = []
        self.said: list[Frame] = []

    def opening(self, channel: Channel, frame: Frame) -> None:
        if frame[0] == Kind.HELLO:
            channel.send(channel.wire.welcome(channel.wire.own))
            channel.establish(CODEC)
        elif frame[0] == Kind.WELCOME:
            channel.establish(CODEC)
        else:
            self.said.append(frame)

    def channel_idle(self, channel: Channel) -> None:
        self.idle += 1

    def channel_closed(self, channel: Channel) -> None:
        self.ended.append(channel.reason)


class Call:
    """A call that arrived and is not answered."""

    def __init__(self, channel: Channel, frame: Frame) -> None:
        self.channel = channel
        self.frame = frame
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def answer(self, body: bytes = b"") -> None:
        """Answer it in a worker, as a dispatcher does."""
        state = self.channel.state
        state.run_in_hub(lambda: state.start(lambda *_: self.channel.answer(self.frame, Kind.RESULT, body)))


class Desk:
    """Takes calls and keeps them, or does with each what it was told."""

    def __init__(self, work: Callable[[Call], None] | None = None) -> None:
        self.max_unread = 64 << 20
        self.work = work
        self.calls: list[Call] = []
        self.closed: list[Any] = []

    def serve(self, channel: Channel, frame: Frame) -> None:
        if frame[3] not in channel.served:
            raise WireError(f"a call on session {frame[3]}, which is not open", "N3")
        call = Call(channel, frame)
        self.calls.append(call)
        if frame[0] != Kind.ONEWAY:
            channel.serving[frame[2]] = call
        if self.work is not None:
            channel.state.start(lambda *_: self.work(call))  # type: ignore[misc]

    def open_session(self, channel: Channel, session_id: int, body: bytes) -> object:
        return session_id

    def close_session(self, channel: Channel, session: Any) -> None:
        self.closed.append(session)


def echo(call: Call) -> None:
    """Work for a `Desk`: answer with what came."""
    call.channel.answer(call.frame, Kind.RESULT, call.frame[4])


def bare_pair(size: int | None = None) -> tuple[_socket.socket, _socket.socket]:
    """A connected pair of the interpreter's own sockets; `size` bounds what the kernel keeps."""
    ends = []
    for sock in socket.socketpair():
        if size is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        sock.setblocking(False)
        ends.append(_socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach()))
    return ends[0], ends[1]


@contextlib.contextmanager
def channel_pair(
    desk: Any = None,
    near_desk: Any = None,
    *,
    hello: Hello = SERVING,
    near_hello: Hello | None = None,
    size: int | None = None,
) -> Iterator[tuple[Channel, Channel]]:
    """Two established channels that talk to each other: the connecting one first. `desk` serves at the second."""
    left, right = bare_pair(size)
    state = hub_state()
    near_hello = near_hello or (CALLING if near_desk is None else replace(SERVING))
    far = Channel(state, right, "near", Connection(False, hello), Owner(), desk or Desk(echo))
    near = Channel(state, left, "far", Connection(True, near_hello), Owner(), near_desk)
    near.send(near.wire.hello())
    with gevent.Timeout(PATIENCE):
        while near.serializer is None or far.serializer is None:
            gevent.sleep(0.001)
    try:
        yield near, far
    finally:
        near.close("the test is over")
        far.close("the test is over")


@contextlib.contextmanager
def channel_and_raw(
    desk: Any = None, *, connecting: bool = False, hello: Hello = SERVING, size: int | None = None
) -> Iterator[tuple[Channel, Raw]]:
    """An established channel and, at the other end, a peer by hand that grants and takes what `SERVING` says."""
    left, right = bare_pair(size)
    channel = Channel(hub_state(), left, "raw", Connection(connecting, hello), Owner(), desk)
    raw = Raw(gevent.socket.socket(socket.AF_UNIX, fileno=right.detach()), connecting=not connecting)
    if connecting:
        channel.send(channel.wire.hello())
        assert raw.read()[0] == Kind.HELLO  # type: ignore[index]
        raw.send(raw.wire.welcome(SERVING))
        with gevent.Timeout(PATIENCE):
            while channel.serializer is None:
                gevent.sleep(0.001)
    else:
        raw.send(raw.wire.hello())
        assert raw.read()[0] == Kind.WELCOME  # type: ignore[index]
    try:
        yield channel, raw
    finally:
        raw.close()
        channel.close("the test is over")


def connection(port: int) -> Any:
    """A socket connected to a port on loopback, without a look-up, which might start a thread of the resolver's."""
    sock = socket.create_connection(("127.0.0.1", port))
    return gevent.socket.socket(fileno=sock.detach())


class Raw:
    """A peer that sends and reads frames by hand."""

    def __init__(self, sock: Any, connecting: bool = True, hello: Hello = SERVING) -> None:
        self.sock = sock
        self.wire = Connection(connecting, hello)
        self._frames: list[Frame] = []
        self.bytes_read = 0

    @classmethod
    def connect(cls, port: int, hello: bool = True) -> Raw:
        """Connect to a daemon on loopback, and say hello if wanted."""
        raw = cls(connection(port), hello=CALLING)
        if hello:
            raw.send(raw.wire.hello())
            frame = raw.read()
            assert frame is not None
            assert frame[0] == Kind.WELCOME, frame
        return raw

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def open(self, session_id: int, guid: str) -> None:
        """Open a session to an object."""
        self.send(pack(Kind.OPEN, 0, session_id, guid.encode()))

    def call(self, call_id: int, session_id: int, method: str, *arguments: Any, kind: int = Kind.CALL) -> None:
        """Send a call."""
        self.send(pack(kind, call_id, session_id, CODEC.encode_call(method, arguments, {})))

    def read(self) -> Frame | None:
        """The next frame; None when the peer closed, also by a reset."""
        with gevent.Timeout(PATIENCE):
            while not self._frames:
                try:
                    data = self.sock.recv(65536)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self.bytes_read += len(data)
                self._frames += self.wire.feed(data)
        return self._frames.pop(0)

    def rest(self) -> list[Frame]:
        """All frames until the peer closes."""
        frames = []
        while (frame := self.read()) is not None:
            frames.append(frame)
        return frames

    def close(self) -> None:
        self.sock.close()


def read_all(sock: Any) -> bytes:
    """What a socket gives until its end, or a reset."""
    data = b""
    with gevent.Timeout(PATIENCE), contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            data += piece
    return data


def call(channel: Channel, session: int, body: bytes = b"", seconds: float | None = None) -> bytes:
    """A call, and the body of its answer."""
    deadline = None if seconds is None else monotonic() + seconds
    return channel.request(Kind.CALL, session, body, 0, deadline)[4]


def spawn(function: Callable[..., Any], *arguments: Any) -> gevent.Greenlet:
    """A greenlet that gives what the function gave or raised."""

    def run() -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            return error

    return gevent.spawn(run)


def results(greenlets: list[gevent.Greenlet], seconds: float = 20) -> list[Any]:
    """What the greenlets gave."""
    gevent.joinall(greenlets, timeout=seconds)
    assert all(one.ready() for one in greenlets), "a caller hangs"
    return [one.value for one in greenlets]


def answer_all(desk: Desk) -> int:
    """Answer what is there with what came; gives how many."""
    calls = [one for one in desk.calls if one.frame[0] != Kind.ONEWAY]
    desk.calls.clear()
    for one in calls:
        one.answer(one.frame[4])
    return len(calls)


class Meddled:
    """A socket that counts, and fails or holds back when told."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.sends = self.reads = 0
        self.error: BaseException | None = None
        self.room = 1 << 62
        self.most = 1 << 62

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv_into(self, buffer: bytearray) -> int:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self._sock.recv_into(memoryview(buffer)[: min(len(buffer), self.most)])

    def send(self, data: bytes) -> int:
        self.sends += 1
        if self.error is not None:
            raise self.error
        return self._sock.send(data[: self.room]) if self.room else self._full()

    def sendmsg(self, buffers: list[Any]) -> int:
        self.sends += 1
        if self.error is not None:
            raise self.error
        return self._sock.sendmsg(buffers) if self.room else self._full()

    def _full(self) -> int:
        raise BlockingIOError


def meddle(channel: Channel) -> Meddled:
    """Put a `Meddled` socket under a channel."""
    channel.sock = made = Meddled(channel.sock)  # type: ignore[assignment]
    return made
