"""Listening: accepting connections, exchanging the hello, and refusing what is too much."""

from __future__ import annotations

import _socket
import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gpyro.net.channel import Acceptor, Channel
from gpyro.net.hub import HubState
from gpyro.net.liveness import Liveness
from gpyro.net.sockets import adopt
from gpyro.net.stream import READ
from gpyro.net.unix import UnixPath
from gpyro.settings import Settings
from gpyro.values import Serializer, serializer_by_name
from gpyro.wire.connection import Connection, State
from gpyro.wire.frames import REFUSAL_TEXTS, Frame, Kind, Refusal
from gpyro.wire.hello import Hello, choose_serializer, choose_version

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

    def __init__(self, sock: _socket.socket, settings: Settings, acceptor: Acceptor, unix: UnixPath | None) -> None:
        """`sock` is bound and listening; `acceptor` serves what arrives."""
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
        self._answers: dict[str, tuple[Hello, Serializer]] = {}
        self._hello = Hello(
            serializers=settings.serializers(),
            calls=settings.PYRO_MAX_CALLS,
            size=settings.PYRO_MAX_BYTES,
            message=settings.PYRO_MAX_MESSAGE,
            sessions=settings.PYRO_MAX_SESSIONS,
        )

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
            channel = Channel(self.state, sock, address, Connection(False, self._hello), self, self.acceptor)
        except BaseException:
            sock.close()
            raise
        self.channels.add(channel)
        channel.start_timer(self.settings.PYRO_HANDSHAKE_TIMEOUT, lambda: self._too_slow(channel))

    def _too_slow(self, channel: Channel) -> None:
        seconds = self.settings.PYRO_HANDSHAKE_TIMEOUT
        self._warn("slow", "no hello from %s within %g s", channel.address, seconds)
        channel.dismiss(channel.wire.refuse(Refusal.IDLE, f"no hello within {seconds:g} s"), "no hello")

    # When descriptors have run out

    def _run_out(self, error: OSError) -> None:
        """Tell one newcomer, then pause: the socket would stay readable and the loop would spin."""
        self._warn("descriptors", "cannot accept a connection: %s", error.strerror)
        if self._reserve >= 0:
            os.close(self._reserve)
            try:
                descriptor, _ = self.sock._accept()  # type: ignore[attr-defined]
                sock = adopt(self.sock, descriptor)
                sock.send(Connection(False, self._hello).refuse(Refusal.TOO_BUSY, f"server too busy: {error.strerror}"))
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
        """A hello arrived: answer it."""
        if frame[0] == Kind.GOAWAY:
            return  # the client closes when it has its answers
        hello = channel.wire.peer
        assert hello is not None
        if len(self.channels) > self.settings.PYRO_MAXCONNECTIONS:
            self._refuse(channel, Refusal.TOO_BUSY, f"{REFUSAL_TEXTS[Refusal.TOO_BUSY]} (PYRO_MAXCONNECTIONS)")
        elif choose_version(hello.versions) is None:
            low, high = hello.versions
            self._refuse(channel, Refusal.VERSION, f"no common protocol version: offered {low} to {high}")
        elif (name := choose_serializer(hello.serializers, self.settings.serializers())) is None:
            accepted, offered = ", ".join(self.settings.serializers()), ", ".join(hello.serializers)[:200]
            self._refuse(channel, Refusal.SERIALIZER, f"no common serializer: accepted {accepted}; offered {offered}")
        else:
            if name not in self._answers:
                self._answers[name] = (
                    replace(self._hello, serializers=(name,)),
                    serializer_by_name(name, self.settings.PYRO_MAX_MESSAGE),
                )
            answer, serializer = self._answers[name]
            channel.send(channel.wire.welcome(answer))
            channel.establish(serializer)

    def _refuse(self, channel: Channel, code: int, text: str) -> None:
        self._warn("refused", "connection from %s refused: %s", channel.address, text)
        channel.dismiss(channel.wire.refuse(code, text), text)

    def channel_idle(self, channel: Channel) -> None:
        """The client decides how long it stays."""

    def channel_closed(self, channel: Channel) -> None:
        """One less."""
        self.channels.discard(channel)
        # Of one that was refused, or broke a rule, the log already tells.
        if channel.wire.state is State.HELLO and not self.closed:
            self._warn("ended", "connection from %s ended before its hello: %s", channel.address, channel.reason)

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
        if self.on_forked is not None:
            self.on_forked()

    def close_inherited(self) -> None:
        """In the child of a fork, when its loop is its own: let go of the descriptors."""
        self._let_go()
