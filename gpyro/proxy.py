"""Proxies: what stands for a remote object in a client, and turns method calls into remote ones."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from gevent import monkey
from greenlet import getcurrent

from gpyro.adapter import PYROAdapter
from gpyro.configuration import config
from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.dispatch import FLAG_METHOD
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
from gpyro.pyrouri import PyroURI, proxy_classes
from gpyro.tls import CURRENT_CALL
from gpyro.values import register_class
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


class RemoteMethod(functools.partial[Any]):
    """A method of a remote object; can be kept and called as often as wanted.

    A `functools.partial` of the proxy's ``_call`` and the method's name, because one is made for every call.
    """

    def __repr__(self) -> str:
        return f"<remote method {self.args[0]} of {self.func.__self__!r}>"  # type: ignore[attr-defined]


class _Session:
    """The client's side of what a proxy has with a daemon, on one hub."""

    __slots__ = ("channel", "id")

    def __init__(self, channel: Channel, session_id: int) -> None:
        self.channel = channel
        self.id = session_id

    def close(self) -> None:
        self.channel.close_session(self.id)


class DynamicProxy:
    """Stands for a remote object: a method called on it runs there.

    Making one connects to nothing; the first call does, and a call after the connection was lost connects anew. Any
    greenlet of any thread may use it, calls overlap freely and start in the order made. Proxies to the same daemon
    share a connection.

    It is equal to every proxy for the same object, always true, and never asks the server about names that begin with
    an underscore.

    Attributes:
        URI: where the object is, as a `PyroURI`.
        objectID: the object's id.
        adapter: the way to `rebindURI` and its like, see `gpyro.adapter`.
    """

    __slots__ = (
        "URI",
        "__weakref__",
        "_identification",
        "_oneway",
        "_private",
        "_process",
        "_sessions",
        "_settings",
        "_timeout",
        "_validator",
    )

    def __init__(self, URI: str | PyroURI) -> None:
        """`URI` is a `PyroURI` or a string in any form that it understands; raises as it does."""
        set_own = object.__setattr__
        set_own(self, "_sessions", {})
        set_own(self, "URI", PyroURI(URI))
        set_own(self, "_settings", config.snapshot())
        set_own(self, "_timeout", None)
        set_own(self, "_oneway", frozenset())
        set_own(self, "_private", 0)
        set_own(self, "_identification", None)
        set_own(self, "_validator", None)
        set_own(self, "_process", os.getpid())

    # Calls

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._invokePYRO(name, args, kwargs)

    def _invokePYRO(self, name: str, vargs: tuple[Any, ...], kargs: dict[str, Any]) -> Any:
        """Every call passes through here.

        Raises:
            NotSentError, MaybeExecutedError, TimeoutError, CallRefusedError, ConnectionDeniedError: see `gpyro.errors`.
            SerializationError: an argument cannot travel.
            Exception: whatever the remote method raised.
        """
        deadline = None if self._timeout is None else monotonic() + self._timeout
        session = self._sessions.get(_thread_id())
        if session is None or not session.channel.usable:
            session = self._connect(deadline)
        channel = session.channel
        serializer = channel.serializer
        body = serializer.encode_call(name, vargs, kargs)
        flags = 0
        tree_locals = getattr(getcurrent(), "spawn_tree_locals", None)
        if tree_locals and (call := tree_locals.get(CURRENT_CALL)) is not None and call.chain:
            body = metadata.prepend({metadata.CHAIN: list(call.chain)}, body)
            flags = FLAG_METADATA
        if name in self._oneway:
            channel.send_oneway(session.id, body, flags, deadline)
            return None
        answer = channel.request(_CALL, session.id, body, flags, deadline)
        if answer[0] == _RESULT:
            return serializer.decode(answer[4])
        raise self._failure(channel, answer)

    def _request(self, kind: Kind, body: Callable[[Any], bytes]) -> tuple[Channel, Frame]:
        """Send a request other than a call; `body` makes its body with the serializer it is given."""
        deadline = None if self._timeout is None else monotonic() + self._timeout
        session = self._session(deadline)
        channel = session.channel
        answer = channel.request(kind, session.id, body(channel.serializer), 0, deadline)
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

    # Sessions

    def _session(self, deadline: float | None) -> _Session:
        session: _Session | None = self._sessions.get(_thread_id())
        if session is not None and session.channel.usable:
            return session
        return self._connect(deadline)

    def _connect(self, deadline: float | None) -> _Session:
        """A session on the current thread's hub, on a new or a shared channel."""
        uri = self.URI
        state = hub_state()
        if getcurrent() is state.hub:
            raise PyroError("a proxy cannot be called from the hub (a loop callback): spawn a greenlet for it")
        table = state.part(ChannelTable)
        thread = _thread_id()
        for _ in range(2):
            to = Destination(uri.address, uri.port, self._identification, self._private, self._settings)
            channel = table.channel(to, deadline)
            if uri.protocol == "PYROLOC":
                self._locate(channel, uri, deadline)
            session: _Session | None = self._sessions.get(thread)
            if session is not None and session.channel.usable:
                return session  # another greenlet was quicker
            if channel.usable:
                session = _Session(channel, channel.open_session(uri.objectID.encode("ascii")))
                self._sessions[thread] = session
                return session
        raise NotSentError(f"connection lost: {channel.reason}")

    def _locate(self, channel: Channel, uri: PyroURI, deadline: float | None) -> None:
        """Ask the daemon which object has the name in a PYROLOC URI, and make it a PYRO URI."""
        session = _Session(channel, channel.open_session(INTERNAL_DAEMON_GUID.encode()))
        try:
            body = channel.serializer.encode_call("ResolvePYROLOC", (uri.objectID,), {})
            answer = channel.request(_CALL, session.id, body, 0, deadline)
            if answer[0] != _RESULT:
                raise self._failure(channel, answer)
            guid = channel.serializer.decode(answer[4])
        finally:
            session.close()
        if uri.protocol == "PYROLOC":
            uri.init(uri.address, guid, uri.port, "PYRO")

    def _release(self) -> None:
        """End the sessions of this proxy; the next call begins a new one."""
        thread = _thread_id()
        while self._sessions:
            owner, session = self._sessions.popitem()
            if owner == thread:
                session.close()
            else:
                session.channel.state.call_soon(session.close)

    def __del__(self) -> None:
        # May run anywhere, so it only leaves word; and not in a forked child, where nothing of it is left.
        sessions = getattr(self, "_sessions", None)
        if sessions and self._process == os.getpid():
            for session in sessions.values():
                if not session.channel.closed:
                    session.channel.state.call_soon(session.close)

    # Settings

    def _setTimeout(self, secs: float | None) -> None:
        """Give every call from now on `secs` seconds for all it does, connecting included; None for no limit.

        Raises:
            ValueError: it is not a positive number.
        """
        if secs is not None and not secs > 0:
            raise ValueError(f"a timeout is a positive number of seconds, or None: {secs!r}")
        object.__setattr__(self, "_timeout", None if secs is None else float(secs))

    def _setOneway(self, methods: str | Iterable[str]) -> None:
        """Call the named methods one-way from now on: no answer, no exception, the result is None."""
        names = (methods,) if isinstance(methods, str) else tuple(methods)
        object.__setattr__(self, "_oneway", self._oneway | frozenset(names))

    def _setIdentification(self, ident: Any) -> None:
        """Say who connects. Proxies with another identification do not share this one's connection.

        To be called before the first call; ends sessions that are open.
        """
        self._release()
        object.__setattr__(self, "_identification", ident or None)

    def _setNewConnectionValidator(self, validator: Any) -> None:
        """Have `validator` judge new connections."""
        object.__setattr__(self, "_validator", validator)

    def _setPrivateChannel(self, private: bool) -> None:
        """Use a connection of its own (True), or the one that all proxies to the daemon share (False, as at first)."""
        self._release()
        object.__setattr__(self, "_private", next(_private_keys) if private else 0)

    def _transferThread(self, newOwnerThread: Any = None) -> None:
        """Does nothing: proxies have no owner. For programs written for old Pyro versions."""

    @property
    def objectID(self) -> str:
        """The object's id."""
        object_id: str = self.URI.objectID
        return object_id

    @property
    def adapter(self) -> PYROAdapter:
        """The connection as an object."""
        return PYROAdapter(self)

    # As a Python object

    def __getattr__(self, name: str) -> Any:
        if name[:1] == "_":
            raise AttributeError(f"{name!r} is private, and never asked of a remote object")
        return RemoteMethod(self._call, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "URI":
            self._release()
            object.__setattr__(self, name, PyroURI(value))
            return
        raise AttributeError(f"cannot set {name!r}: a plain proxy has no attributes; use getAttrProxyForURI")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete {name!r} of a remote object")

    def __dir__(self) -> list[str]:
        return sorted(
            {name for name in dir(type(self)) if name.startswith("_set") or not name.startswith("_")} | {"URI"}
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self.URI}>"

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(self.objectID)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DynamicProxy) and self.objectID == other.objectID

    def __copy__(self) -> DynamicProxy:
        """A new, unconnected proxy with the same settings."""
        copied = type(self)(self.URI)
        for name in ("_settings", "_timeout", "_oneway", "_identification", "_validator"):
            object.__setattr__(copied, name, getattr(self, name))
        if self._private:
            copied._setPrivateChannel(True)
        return copied

    def __deepcopy__(self, memo: Any) -> Any:
        raise PyroError("cannot deepcopy a proxy")

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_state, (_to_state(self),)


class DynamicProxyWithAttrs(DynamicProxy):
    """As `DynamicProxy`, and reads and writes the object's public data attributes, each time by a call.

    ``proxy.a.b`` fetches ``a`` by value; ``.b`` and everything after it is local. ``proxy.sum = proxy.sum + 1`` is
    two calls, with room for others in between.
    """

    __slots__ = ("_methods",)

    def __init__(self, URI: str | PyroURI) -> None:
        super().__init__(URI)
        object.__setattr__(self, "_methods", set())

    def __getattr__(self, name: str) -> Any:
        if name[:1] == "_":
            raise AttributeError(f"{name!r} is private, and never asked of a remote object")
        if name not in self._methods:
            channel, answer = self._request(Kind.GET, lambda serializer: name.encode("utf-8", "replace"))
            if not answer[1] & FLAG_METHOD:
                return channel.serializer.decode(answer[4])
            self._methods.add(name)
        return RemoteMethod(self._call, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "URI":
            self._methods.clear()
            super().__setattr__(name, value)
        elif name[:1] == "_":
            raise AttributeError(f"{name!r} is private, and never set on a remote object")
        else:
            self._request(Kind.SET, lambda serializer: serializer.encode([name, value], name))

    def findattr(self, attr: str) -> int:
        """What the object says `attr` is: 1 for a method, 2 for a data attribute, 0 for neither."""
        if attr[:1] == "_":
            return 0
        _, answer = self._request(Kind.DESCRIBE, lambda serializer: attr.encode("utf-8", "replace"))
        return answer[4][0] if answer[4] else 0


proxy_classes.update(plain=DynamicProxy, attributes=DynamicProxyWithAttrs)


def getProxyForURI(URI: str | PyroURI) -> DynamicProxy:
    """A proxy for the object at `URI`. Raises `URIError` if it is malformed."""
    return DynamicProxy(URI)


def getAttrProxyForURI(URI: str | PyroURI) -> DynamicProxyWithAttrs:
    """A proxy with attribute access for the object at `URI`. Raises `URIError` if it is malformed."""
    return DynamicProxyWithAttrs(URI)


# Proxies and URIs travel by value: where the object is and how to call it, never who calls.


def _to_state(proxy: DynamicProxy) -> list[Any]:
    attributes = isinstance(proxy, DynamicProxyWithAttrs)
    return [str(proxy.URI), attributes, proxy._timeout, sorted(proxy._oneway), bool(proxy._private)]


def _from_state(state: Any) -> DynamicProxy:
    uri, attributes, timeout, oneway, private = state
    proxy = DynamicProxyWithAttrs(uri) if attributes else DynamicProxy(uri)
    proxy._setTimeout(timeout)
    proxy._setOneway(oneway)
    if private:
        proxy._setPrivateChannel(True)
    return proxy


register_class(PyroURI, name="gpyro.uri", to_state=str, from_state=PyroURI)
register_class(DynamicProxy, name="gpyro.proxy", to_state=_to_state, from_state=_from_state, subclasses=True)
