"""The way from a client to one remote object: where it is, how to call it, and the sessions that carry the calls."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from gevent import monkey
from greenlet import getcurrent

from gpyro.configuration import Settings
from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.errors import (
    CallRefusedError,
    NotSentError,
    ProtocolError,
    PyroError,
    SerializationError,
    SynchronizationError,
)
from gpyro.net.channel import Channel
from gpyro.net.connect import ChannelTable, Destination
from gpyro.net.hub import hub_state
from gpyro.pyrouri import PyroURI
from gpyro.tls import CURRENT_CALL, current_call
from gpyro.wire import metadata
from gpyro.wire.frames import FLAG_METADATA, Frame, Kind, Rejection, unpack_text

# The id of the real thread, also in a patched process: sessions belong to the hub of a thread.
_thread_id: Callable[[], int] = monkey.get_original("_thread", "get_ident")

_CALL, _RESULT = int(Kind.CALL), int(Kind.RESULT)
_private_keys = itertools.count(1)

_VERDICTS: Final[dict[int, Callable[[str], Exception]]] = {
    Rejection.UNKNOWN_OBJECT: ProtocolError,
    Rejection.UNKNOWN_MEMBER: AttributeError,
    Rejection.BUSY: CallRefusedError,
    Rejection.DRAINING: CallRefusedError,
    Rejection.UNREADABLE: SerializationError,
    Rejection.CANCELLED: CallRefusedError,
    Rejection.REENTERED: SynchronizationError,
}


def _with_chain(body: bytes) -> tuple[int, bytes]:
    """Flags and body of a request: the call that it is made in says which objects it holds."""
    call = current_call()
    if call is None or not call.chain:
        return 0, body
    return FLAG_METADATA, metadata.prepend({metadata.CHAIN: list(call.chain)}, body)


class ClientSession:
    """The client's side of what a proxy has with a daemon, on one hub."""

    __slots__ = ("channel", "id")

    def __init__(self, channel: Channel, session_id: int) -> None:
        self.channel = channel
        self.id = session_id

    def close(self) -> None:
        """End it. On the thread of its channel."""
        self.channel.close_session(self.id)


class RemoteObject:
    """What a proxy, and the methods taken from it, call through. Its sessions end when the last of them is gone.

    Attributes:
        uri: where the object is.
        settings: the configuration, as it was when the proxy was made.
        timeout: seconds for a whole call, or None.
        oneway: names of the methods that are called one-way.
        private: number of its own channel, or 0.
        identification: who connects.
        validator: what judges new connections.
        sessions: the open sessions by thread.
    """

    __slots__ = (
        "_process",
        "identification",
        "oneway",
        "private",
        "sessions",
        "settings",
        "timeout",
        "uri",
        "validator",
    )

    def __init__(self, uri: PyroURI, settings: Settings) -> None:
        self.sessions: dict[int, ClientSession] = {}
        self._process = os.getpid()
        self.uri = uri
        self.settings = settings
        self.timeout: float | None = None
        self.oneway: frozenset[str] = frozenset()
        self.private = 0
        self.identification: Any = None
        self.validator: Any = None

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method. Raises as `DynamicProxy._invokePYRO` does."""
        timeout = self.timeout
        deadline = None if timeout is None else monotonic() + timeout
        session = self.sessions.get(_thread_id())
        if session is None or not session.channel.usable:
            session = self.connect(deadline)
        channel = session.channel
        serializer = channel.serializer
        body = serializer.encode_call(name, args, kwargs)
        if name in self.oneway:
            channel.send_oneway(session.id, body, 0, deadline)  # without chain, for the chain does not wait for it
            return None
        flags = 0
        tree_locals = getattr(getcurrent(), "spawn_tree_locals", None)
        if tree_locals and (call := tree_locals.get(CURRENT_CALL)) is not None and call.chain:
            body = metadata.prepend({metadata.CHAIN: list(call.chain)}, body)
            flags = FLAG_METADATA
        answer = channel.request(_CALL, session.id, body, flags, deadline)
        if answer[0] == _RESULT:
            return serializer.decode(answer[4])
        raise self._failure(channel, answer)

    def request(self, kind: Kind, body: Callable[[Any], bytes]) -> tuple[Channel, Frame]:
        """Send a request other than a call; `body` makes its body with the serializer it is given."""
        deadline = None if self.timeout is None else monotonic() + self.timeout
        session = self.session(deadline)
        channel = session.channel
        flags, chained = _with_chain(body(channel.serializer))
        answer = channel.request(kind, session.id, chained, flags, deadline)
        if answer[0] == _RESULT:
            return channel, answer
        raise self._failure(channel, answer)

    def _failure(self, channel: Channel, answer: Frame) -> Exception:
        """The exception that an answer stands for."""
        if answer[0] == Kind.ERROR:
            error: Exception = channel.serializer.decode_error(answer[4])
            return error
        code, text = unpack_text(answer[4])
        return _VERDICTS.get(code, CallRefusedError)(text)

    def session(self, deadline: float | None) -> ClientSession:
        """The session on the current thread's hub, begun if need be."""
        session = self.sessions.get(_thread_id())
        if session is not None and session.channel.usable:
            return session
        return self.connect(deadline)

    def connect(self, deadline: float | None) -> ClientSession:
        """A new session on the current thread's hub, on a new or a shared channel."""
        uri = self.uri
        state = hub_state()
        if getcurrent() is state.hub:
            raise PyroError("a proxy cannot be called from the hub (a loop callback): spawn a greenlet for it")
        table = state.part(ChannelTable)
        thread = _thread_id()
        for owner, lost in list(self.sessions.items()):
            if lost.channel.closed:
                self.sessions.pop(owner, None)
        for _ in range(2):
            to = Destination(uri.address, uri.port, self.identification, self.private, self.settings)
            channel = table.channel(to, deadline)
            if uri.protocol == "PYROLOC":
                self._locate(channel, uri, deadline)
            session = self.sessions.get(thread)
            if session is not None and session.channel.usable:
                return session  # another greenlet was quicker
            if channel.usable:
                session = ClientSession(channel, channel.open_session(uri.objectID.encode("ascii")))
                self.sessions[thread] = session
                return session
        raise NotSentError(f"connection lost: {channel.reason}")

    def _locate(self, channel: Channel, uri: PyroURI, deadline: float | None) -> None:
        """Ask the daemon which object has the name in a PYROLOC URI, and make it a PYRO URI."""
        session = ClientSession(channel, channel.open_session(INTERNAL_DAEMON_GUID.encode()))
        try:
            flags, body = _with_chain(channel.serializer.encode_call("ResolvePYROLOC", (uri.objectID,), {}))
            answer = channel.request(_CALL, session.id, body, flags, deadline)
            if answer[0] != _RESULT:
                raise self._failure(channel, answer)
            guid = channel.serializer.decode(answer[4])
        finally:
            session.close()
        if uri.protocol == "PYROLOC":
            uri.init(uri.address, guid, uri.port, "PYRO")

    def make_private(self, private: bool) -> None:
        """Use a channel of its own, or the shared one."""
        self.release()
        self.private = next(_private_keys) if private else 0

    def release(self) -> None:
        """End the sessions; the next call begins a new one."""
        thread = _thread_id()
        while self.sessions:
            owner, session = self.sessions.popitem()
            if owner == thread:
                session.close()
            else:
                session.channel.state.call_soon(session.close)

    def __del__(self) -> None:
        # May run anywhere, so it only leaves word; and not in a forked child, where nothing of it is left.
        sessions = getattr(self, "sessions", None)
        if sessions and self._process == os.getpid():
            for session in sessions.values():
                if not session.channel.closed:
                    session.channel.state.call_soon(session.close)
