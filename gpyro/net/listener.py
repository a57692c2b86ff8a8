"""Listening: accepting connections, exchanging the hello, and refusing what is too much."""

from __future__ import annotations

import _socket
import errno
import ipaddress
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from gpyro.net.admission import Admission, Doorkeeper, Verdict
from gpyro.net.channel import Acceptor, Channel
from gpyro.net.hub import HubState
from gpyro.net.liveness import Liveness
from gpyro.net.sockets import adopt, origin_of
from gpyro.net.stream import READ
from gpyro.net.unix import UnixPath
from gpyro.settings import Settings
from gpyro.wire.connection import Connection, State
from gpyro.wire.frames import Frame, Kind, Refusal

ACCEPTS_PER_TURN = 64
"""Connections accepted in one callback, so that a crowd of newcomers does not hold those who are in."""

PAUSE = 0.1
"""Seconds until accepting is tried again after the process, or the system, ran out of descriptors or memory."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """A listening socket with the channels that came in through it.

    Attributes:
        channels: the open ones.
        closed: accepts no more.
    """

    def __init__(
        self,
        sock: _socket.socket,
        settings: Settings,
        acceptor: Acceptor,
        unix: UnixPath | None,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        """`sock` is bound and listening; `doorkeeper` judges newcomers, `acceptor` serves what arrives."""
        self.sock = sock
        self.settings = settings
        self.acceptor = acceptor
        self.channels: set[Channel] = set()
        self.closed = False
        self.state: HubState | None = None
        self.on_forked: Callable[[], None] | None = None
        self.keep: object = None  # a running daemon, which must not be collected
        self._unix = unix
        self._watcher: Any = None
        self._pause: Any = None
        self._reserve = -1
        self._by_host: Counter[str] = Counter()
        self.admission = Admission(settings, doorkeeper, self._warn)

    def start(self, state: HubState) -> None:
        """Accept from now on, on this hub."""
        if self.state is not None or self.closed:
            return
        self.state = state
        state.belongings.add(self)
        state.part(Liveness)
        # Given up for a moment when descriptors have run out, so that a newcomer can be told.
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._watcher = state.loop.io(self.sock.fileno(), READ)
        self._watcher.start(self._on_acceptable)

    def _on_acceptable(self) -> None:
        try:
            for _ in range(ACCEPTS_PER_TURN):
                if self.closed:
                    return
                descriptor, address = self.sock._accept()  # type: ignore[attr-defined]
                self._admit(adopt(self.sock, descriptor), address)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._run_out(error)
            else:
                self._failed(error)
        except BaseException as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if self.state is not None:
            self.state.escaped(error)
            self._wait_a_while()

    def _admit(self, sock: _socket.socket, address: Any) -> None:
        assert self.state is not None
        try:
            channel = Channel(self.state, sock, address, Connection(False, self.admission.own), self, self.acceptor)
        except BaseException:
            sock.close()
            raise
        self.channels.add(channel)
        host = _host(channel)
        if host:
            self._by_host[host] += 1
        total, for_one = self.settings.PYRO_MAXCONNECTIONS, self.settings.PYRO_MAX_PER_ADDRESS
        if len(self.channels) > total:
            self.admission.refuse(channel, Verdict(Refusal.TOO_BUSY, f"{total} connections (PYRO_MAXCONNECTIONS)"))
        elif self._by_host[host] > for_one:
            text = f"{for_one} connections from {host} (PYRO_MAX_PER_ADDRESS)"
            self.admission.refuse(channel, Verdict(Refusal.TOO_BUSY, text))
        else:
            self.admission.expect(channel)

    # When descriptors have run out

    def _run_out(self, error: OSError) -> None:
        """Tell one newcomer, then pause: the socket would stay readable and the loop would spin."""
        self._warn("descriptors", "cannot accept a connection: %s", error.strerror)
        if self._reserve >= 0:
            os.close(self._reserve)
            try:
                descriptor, _ = self.sock._accept()  # type: ignore[attr-defined]
                sock = adopt(self.sock, descriptor)
                wire = Connection(False, self.admission.own)
                sock.send(wire.refuse(Refusal.TOO_BUSY, f"server too busy: {error.strerror}"))
                sock.shutdown(1)
                sock.close()
            except OSError:
                pass
            try:
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._reserve = -1
        self._wait_a_while()

    def _wait_a_while(self) -> None:
        assert self.state is not None
        self._watcher.stop()
        if self._pause is None:
            self._pause = self.state.loop.timer(PAUSE)
        self._pause.start(self._resume)

    def _resume(self) -> None:
        if not self.closed:
            self._watcher.start(self._on_acceptable)

    # As the owner of the channels

    def opening(self, channel: Channel, frame: Frame) -> None:
        """A frame about the connection arrived."""
        if frame[0] != Kind.GOAWAY:  # after that one the client closes when it has its answers
            self.admission.opening(channel, frame)

    def channel_idle(self, channel: Channel) -> None:
        """The client decides how long it stays."""

    def channel_closed(self, channel: Channel) -> None:
        """One less."""
        self.admission.gone(channel)
        if channel in self.channels:
            self.channels.discard(channel)
            host = _host(channel)
            self._by_host[host] -= 1
            if self._by_host[host] <= 0:
                del self._by_host[host]
        # Of one that was refused, or broke a rule, the log already tells.
        state = channel.wire.state
        if state in (State.HELLO, State.PROVING) and not self.closed:
            what = "hello" if state is State.HELLO else "proof"
            self._warn("ended", "connection from %s ended before its %s: %s", channel.address, what, channel.reason)

    def _warn(self, key: str, text: str, *arguments: object) -> None:
        if self.state is not None:
            self.state.warn(key, text, *arguments)

    # The end

    def stop_accepting(self) -> None:
        """Close the listening socket; the channels stay. On the hub's own thread, or before `start`."""
        if self.closed:
            return
        self.closed = True
        self._let_go()
        if self._unix is not None:
            self._unix.remove()
        if self.state is not None:
            self.state.belongings.discard(self)

    def say_goodbye(self) -> None:
        """Tell every peer that no new calls are wanted."""
        for channel in list(self.channels):
            channel.send(channel.wire.goodbye(Refusal.DRAINING))

    def close(self, reason: str = "the daemon was closed") -> None:
        """Close the listening socket and all channels."""
        self.stop_accepting()
        for channel in list(self.channels):
            channel.flush()
            channel.close(reason)

    def _let_go(self) -> None:
        for watcher in (self._watcher, self._pause):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self.close_descriptors()

    def close_descriptors(self) -> None:
        """Also in the child of a fork, where the loop is another thread's."""
        self.sock.close()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def forked(self) -> None:
        """In the child of a fork: the daemon stays the parent's."""
        self.closed = True
        self.channels.clear()
        self._by_host.clear()
        if self.on_forked is not None:
            self.on_forked()

    def close_inherited(self) -> None:
        """In the child of a fork, when its loop is its own: let go of the descriptors."""
        self._let_go()


def _host(channel: Channel) -> str:
    """What a channel counts for; '' if it comes from this machine, where one address is many programs."""
    origin = origin_of(channel.address)
    return "" if not origin or ipaddress.ip_network(origin).is_loopback else origin
