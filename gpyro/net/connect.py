"""Connecting: from an address to an established channel, shared by all proxies of a hub that go there."""

from __future__ import annotations

import _socket
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from gevent.event import AsyncResult

from gpyro.errors import ConnectionDeniedError, NotSentError, ProtocolError, TimeoutError
from gpyro.net.channel import Channel
from gpyro.net.hub import HubState, limit
from gpyro.net.liveness import Liveness
from gpyro.net.resolve import Resolver
from gpyro.net.sockets import new_socket, set_options
from gpyro.net.stream import WRITE
from gpyro.settings import Settings
from gpyro.uri import is_unix, unix_path
from gpyro.values import serializer_by_name
from gpyro.wire.connection import Connection
from gpyro.wire.frames import Frame, Kind, Refusal, unpack_text
from gpyro.wire.hello import Hello

SENDING_ON = 0.02
"""Seconds between looks at whether a channel that nobody uses has sent everything."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a channel goes; channels are shared by what is equal here.

    Attributes:
        address: host name, IP address or address of a Unix socket (see `gpyro.uri`).
        port: TCP port, 0 for a Unix socket.
        credentials: what the connection is made with; proxies with other credentials do not share it.
        private: the number of a proxy that has a channel of its own; 0 for the one that is shared.
        settings: how to connect; part of the key because it decides about the serializer.
    """

    address: str
    port: int
    credentials: Any
    private: int
    settings: Settings

    def __str__(self) -> str:
        if is_unix(self.address):
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def client_hello(settings: Settings) -> Hello:
    """What a client without objects of its own says."""
    return Hello(serializers=settings.serializers(), message=settings.PYRO_MAX_MESSAGE)


class Opening:
    """One attempt to open a channel, with all who wait for it. Runs in a worker.

    Ends in an established channel or an error.
    """

    def __init__(self, state: HubState, destination: Destination, done: Callable[[Opening], None]) -> None:
        self.destination = destination
        self.channel: Channel | None = None
        self._state = state
        self._done = done
        self._outcome: AsyncResult[Channel | ProtocolError] = AsyncResult()
        self._settled = False
        state.run_in_hub(lambda: state.start(self._run))

    def wait(self, deadline: float | None) -> Channel:
        """Wait until the channel is established.

        Raises:
            TimeoutError: the deadline (monotonic seconds) passed.
            NotSentError: there is no way to the peer.
            ConnectionDeniedError: the peer refused.
        """
        with limit(None if deadline is None else deadline - monotonic()):
            outcome = self._outcome.get()
            assert outcome is not None
            if isinstance(outcome, ProtocolError):
                # Each waiter gets an error of its own, since raising adds a traceback to it.
                raise type(outcome)(*outcome.args) from None
            return outcome
        raise TimeoutError(f"the deadline passed while connecting to {self.destination}", "connecting")

    def _settle(self, outcome: Channel | ProtocolError) -> None:
        if not self._settled:
            self._settled = True
            self._done(self)
            self._outcome.set(outcome)

    def _run(self, first: Any, second: Any) -> None:
        to, settings = self.destination, self.destination.settings
        deadline = monotonic() + settings.PYRO_CONNECT_TIMEOUT
        try:
            sock, address = _connect(self._state, to, deadline)
            channel = self.channel = Channel(
                self._state, sock, address, Connection(True, client_hello(settings)), owner=self
            )
            channel.start_timer(max(0.0, deadline - monotonic()), lambda: channel.close("no answer to the hello"))
            channel.send(channel.wire.hello())
            channel.flush()
        except ProtocolError as error:
            if isinstance(error, TimeoutError):  # this attempt's own time, not a caller's deadline
                error = NotSentError(f"connection failed: {to}: no connection in {settings.PYRO_CONNECT_TIMEOUT:g} s")
            self._settle(error)
        except BaseException as error:
            self._settle(NotSentError(f"connection failed: {to}: {error!r}"))

    # As the owner of the channel until it is established

    def opening(self, channel: Channel, frame: Frame) -> None:
        """The answer to the hello arrived."""
        if frame[0] == Kind.REFUSED:
            code, text = unpack_text(frame[4])
            # One that is about to end is as good as gone: it may be back soon.
            gone = code == Refusal.DRAINING
            self._settle(NotSentError(f"connection failed: {text}") if gone else ConnectionDeniedError(text))
            channel.close(f"refused: {text}")
            return
        peer = channel.wire.peer
        assert peer is not None
        channel.establish(serializer_by_name(peer.serializers[0], self.destination.settings.PYRO_MAX_MESSAGE))
        self._settle(channel)

    def channel_idle(self, channel: Channel) -> None:
        """Nobody has used it yet."""

    def channel_closed(self, channel: Channel) -> None:
        """Closed before it was established."""
        self._settle(NotSentError(f"connection failed: {self.destination}: {channel.reason}"))


class ChannelTable:
    """The channels of one hub to daemons: one for each destination."""

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._shared: dict[Destination, Channel | Opening] = {}
        state.part(Liveness)

    def channel(self, destination: Destination, deadline: float | None) -> Channel:
        """An established channel to `destination`, opened if need be. Raises as `Opening.wait` does."""
        there = self._shared.get(destination)
        if isinstance(there, Channel):
            if there.usable:
                return there
            there = None
        if there is None:
            there = self._shared[destination] = Opening(self._state, destination, self._opened)
        return there.wait(deadline)

    def _opened(self, opening: Opening) -> None:
        to = opening.destination
        if self._shared.get(to) is opening:
            del self._shared[to]
            if opening.channel is not None and opening.channel.usable:
                self._shared[to] = opening.channel
        if opening.channel is not None and opening.channel.usable:
            opening.channel.owner = self
            # Until the first session is opened by those who wait.
            opening.channel.start_timer(to.settings.PYRO_CONNECT_TIMEOUT, lambda: self._unused(opening.channel))

    # As the owner of established channels

    def opening(self, channel: Channel, frame: Frame) -> None:
        """The peer will close: new calls take a new channel."""
        self._forget(channel)

    def channel_idle(self, channel: Channel) -> None:
        """Keep it a while for the next proxy, then close it."""
        for destination, there in self._shared.copy().items():
            if there is channel:
                self._linger(channel, destination)
                return
        self._let_go(channel)

    def _unused(self, channel: Channel | None) -> None:
        if channel is not None and not channel.opened:
            self._let_go(channel)

    def _linger(self, channel: Channel, destination: Destination) -> None:
        if channel.opened or channel.pending:
            return
        seconds = 0.0 if destination.private else destination.settings.PYRO_CHANNEL_LINGER
        channel.start_timer(seconds, lambda: self._let_go(channel))

    def _let_go(self, channel: Channel) -> None:
        """Close a channel that nobody uses, when all that was said on it has left, one-way calls too."""
        self._forget(channel)
        if channel.out.size:
            channel.start_timer(SENDING_ON, lambda: self._let_go(channel))
        else:
            channel.dismiss(b"", "no longer used")

    def channel_closed(self, channel: Channel) -> None:
        """It must not be handed out any more."""
        self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        for destination, there in self._shared.copy().items():
            if there is channel:
                self._shared.pop(destination, None)

    # As a part of the hub's state

    def close(self) -> None:
        """The channels are closed by the state itself."""
        self._shared.clear()

    def forked(self) -> None:
        """The channels are the parent's."""
        self._shared.clear()

    def close_inherited(self) -> None:
        """The channels close their descriptors themselves."""


def _connect(state: HubState, to: Destination, deadline: float) -> tuple[_socket.socket, Any]:
    """A connected socket: every address of the host is tried, each with its share of the time that is left."""
    settings = to.settings
    if is_unix(to.address):
        endpoints: list[tuple[int, Any]] = [(socket.AF_UNIX, unix_path(to.address))]
    else:
        endpoints = state.part(Resolver).endpoints(to.address, to.port, deadline, settings.PYRO_DNS_CACHE)
    failures = []
    for tried, (family, address) in enumerate(endpoints):
        share = (deadline - monotonic()) / (len(endpoints) - tried)
        try:
            sock = new_socket(family)
        except OSError as error:
            failures.append(f"{error.strerror}")
            continue
        try:
            set_options(sock, settings.PYRO_SOCK_KEEPALIVE)
            code = _connect_one(state, sock, address, share)
        except BaseException:
            sock.close()
            raise
        if code == 0:
            return sock, address
        sock.close()
        failures.append(os.strerror(code) if len(endpoints) == 1 else f"{address[0]}: {os.strerror(code)}")
    raise NotSentError(f"connection failed: {to}: {'; '.join(failures)}")


def _connect_one(state: HubState, sock: _socket.socket, address: Any, seconds: float) -> int:
    """Connect within `seconds`; gives the error number, 0 for success."""
    code = sock.connect_ex(address)
    if code == errno.EAGAIN and sock.family == socket.AF_UNIX:
        return errno.ECONNREFUSED  # the daemon's backlog is full, and a Unix socket has no way to wait for room
    if code not in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        return code
    watcher = state.loop.io(sock.fileno(), WRITE)
    try:
        with limit(seconds):
            state.hub.wait(watcher)
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.ETIMEDOUT
    finally:
        watcher.stop()
        watcher.close()
