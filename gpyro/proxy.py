"""Proxies: what stands for a remote object in a client, and turns method calls into remote ones."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Hashable, Iterable
from typing import Any

from gpyro.adapter import PYROAdapter
from gpyro.errors import PyroError
from gpyro.pyrouri import PyroURI, proxy_classes
from gpyro.remote import RemoteObject
from gpyro.settings import config
from gpyro.startup import initClient
from gpyro.validators import DefaultConnValidator, check
from gpyro.values import register_class
from gpyro.values.buffers import holds_large
from gpyro.wire.frames import FLAG_METHOD, Kind

MAX_KEPT = 256
"""Remote methods that a proxy keeps for their next call."""


class RemoteMethod(functools.partial[Any]):
    """A method of a remote object; can be kept and called as often as wanted.

    A `functools.partial` because it lies on the path of every call.
    """

    def __repr__(self) -> str:
        return f"<remote method {self.args[0]} of {self.func.__self__.uri}>"  # type: ignore[attr-defined]


class DynamicProxy:
    """Stands for a remote object: a method called on it runs there.

    Making one connects to nothing; the first call does, and a call after the connection was lost connects anew. Any
    greenlet of any thread may use it, calls overlap freely and start in the order made. Proxies to the same daemon
    share a connection.

    It is equal to every proxy with the same object id, or made for the same PYROLOC name at the same daemon. It is
    always true, and never asks the server about names that begin with an underscore.

    Attributes:
        URI: where the object is, as a `PyroURI`.
        objectID: the object's id.
        adapter: the way to `rebindURI` and its like, see `gpyro.adapter`.
    """

    _remote: RemoteObject

    def __init__(self, URI: str | PyroURI) -> None:
        """`URI` is a `PyroURI` or a string in any form that it understands; raises as it does."""
        initClient()
        self.__dict__["_remote"] = RemoteObject(PyroURI(URI), config.snapshot())

    # Calls

    def _invokePYRO(self, name: str, vargs: tuple[Any, ...], kargs: dict[str, Any]) -> Any:
        """Every call passes through here in a class that overrides it.

        Raises:
            NotSentError, MaybeExecutedError, TimeoutError, CallRefusedError, ConnectionDeniedError: see `gpyro.errors`.
            SerializationError: an argument cannot travel.
            Exception: whatever the remote method raised.
        """
        if name[:1] == "_":
            raise AttributeError(f"{name!r} is private, and never asked of a remote object")
        return self._remote.call(name, *vargs, **kargs)

    def _flush(self) -> None:
        """Wait until the server has begun all calls that were made through this proxy so far, one-way ones included.

        Raises:
            ProtocolError: as with a call.
        """
        self._remote.ask(Kind.DESCRIBE, lambda serializer: b"")

    def _release(self) -> None:
        """End the sessions of this proxy; the next call begins a new one."""
        self._remote.release()

    # Settings

    def _setTimeout(self, secs: float | None) -> None:
        """Give every call from now on `secs` seconds for all it does, connecting included; None for no limit.

        Raises:
            ValueError: it is not a positive number.
        """
        seconds = None if secs is None or isinstance(secs, str) else float(secs)
        if secs is not None and (seconds is None or not seconds > 0):
            raise ValueError(f"a timeout is a positive number of seconds, or None: {secs!r}")
        self._remote.timeout = seconds

    def _setOneway(self, methods: str | Iterable[str]) -> None:
        """Call the named methods one-way from now on: no answer, no exception, the result is None.

        Raises:
            TypeError: a name is no str.
        """
        names = (methods,) if isinstance(methods, str) else tuple(methods)
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"a method's name is a str: {name!r}")
        self._remote.oneway |= frozenset(names)

    def _setIdentification(self, ident: str | tuple[str, str] | None) -> None:
        """Say who connects: a passphrase, or a pair of a user's name and a passphrase; None for nothing.

        Client and server prove to each other that they know the passphrase, without saying it. It is used for the
        address that the proxy has now, and goes along with a copy of the proxy in this process, never to another one.
        Proxies with another identification do not share this one's connection; sessions that are open end.

        Raises:
            TypeError: it is none of these.
            ValueError: a part of it is empty, too long, or has characters that it cannot have.
        """
        self._remote.identify(ident)

    def _setNewConnectionValidator(self, validator: DefaultConnValidator | None) -> None:
        """Have `validator` judge the servers of new connections; None for the ordinary rule. Open sessions end.

        Raises:
            TypeError: it is no `DefaultConnValidator`.
        """
        self._remote.judge_by(None if validator is None else check(validator))

    def _getNewConnectionValidator(self) -> DefaultConnValidator | None:
        """What judges the servers of new connections; None for the ordinary rule."""
        return self._remote.validator

    def _setPrivateChannel(self, private: bool) -> None:
        """Use a connection of its own (True), or the one that all proxies to the daemon share (False, as at first)."""
        self._remote.make_private(private)

    def _transferThread(self, newOwnerThread: Any = None) -> None:
        """Does nothing: proxies have no owner. For programs written for old Pyro versions."""

    @property
    def URI(self) -> PyroURI:
        """Where the object is."""
        return self._remote.uri

    @URI.setter
    def URI(self, uri: str | PyroURI) -> None:
        self._remote.point_to(PyroURI(uri))

    @property
    def objectID(self) -> str:
        """The object's id."""
        return self._remote.uri.objectID

    @property
    def adapter(self) -> PYROAdapter:
        """The connection as an object."""
        return PYROAdapter(self)

    # As a Python object

    def __getattr__(self, name: str) -> Any:
        if name[:1] == "_":
            raise AttributeError(f"{name!r} is private, and never asked of a remote object")
        return self._method(name)

    def _method(self, name: str) -> Any:
        """The remote method of this name; the next time it is an attribute like any other, which is much quicker."""
        cls = type(self)
        if cls._invokePYRO is not DynamicProxy._invokePYRO:
            return lambda *args, **kwargs: self._invokePYRO(name, args, kwargs)
        method = RemoteMethod(self._remote.call, name)
        if len(self.__dict__) < MAX_KEPT:
            self.__dict__[name] = method
        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "URI":
            raise AttributeError(f"cannot set {name!r}: a plain proxy has no attributes; use getAttrProxyForURI")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete {name!r} of a remote object")

    def __dir__(self) -> list[str]:
        own = (name for name in dir(type(self)) if name.startswith(("_set", "_release")) or name[0] != "_")
        return sorted(own)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self.URI}>"

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(_identity(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DynamicProxy) and _identity(self) == _identity(other)

    def __copy__(self) -> DynamicProxy:
        """A new, unconnected proxy with the same settings."""
        copied = type(self)(self._remote.made_for)
        mine, its = self._remote, copied._remote
        for name in ("settings", "timeout", "oneway", "given", "validator"):
            setattr(its, name, getattr(mine, name))
        if mine.private:
            its.make_private(True)
        return copied

    def __deepcopy__(self, memo: Any) -> Any:
        raise PyroError("cannot deepcopy a proxy")

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_state, (_to_state(self),)


def _identity(proxy: DynamicProxy) -> Hashable:
    """What a proxy is equal by, which a call does not change: the id, or where it asks for the name."""
    uri = proxy._remote.made_for
    return uri.objectID if uri.protocol == "PYRO" else str(uri)


class DynamicProxyWithAttrs(DynamicProxy):
    """As `DynamicProxy`, and reads and writes the object's public data attributes, each time by a call.

    ``proxy.a.b`` fetches ``a`` by value; ``.b`` and everything after it is local. ``proxy.sum = proxy.sum + 1`` is two
    calls, with room for others in between. Which names are methods is asked once, and again when one is so no longer.
    """

    def __init__(self, URI: str | PyroURI) -> None:
        """As `DynamicProxy`."""
        super().__init__(URI)
        self._remote.forget = _Forget(self)

    def __getattr__(self, name: str) -> Any:
        if name[:1] == "_":
            raise AttributeError(f"{name!r} is private, and never asked of a remote object")
        serializer, answer = self._remote.ask(Kind.GET, lambda serializer: name.encode("utf-8", "replace"))
        if answer[1] & FLAG_METHOD:
            return self._method(name)
        return serializer.decode(answer[4])

    def __setattr__(self, name: str, value: Any) -> None:
        if name[:1] == "_":
            raise AttributeError(f"{name!r} is private, and never set on a remote object")
        if name == "URI":
            remote = self._remote
            self.__dict__.clear()  # another object may have other methods
            self.__dict__["_remote"] = remote
            super().__setattr__(name, value)
        else:
            self._remote.ask(Kind.SET, lambda serializer: serializer.encode([name, value], name), holds_large((value,)))

    def findattr(self, attr: str) -> int:
        """What the object says `attr` is: 1 for a method, 2 for a data attribute, 0 for neither."""
        if attr[:1] == "_":
            return 0
        _, answer = self._remote.ask(Kind.DESCRIBE, lambda serializer: attr.encode("utf-8", "replace"))
        return answer[4][0] if answer[4] else 0


class _Forget:
    """Has an attribute proxy forget a method. A method of the proxy itself would keep it from being collected."""

    def __init__(self, proxy: DynamicProxy) -> None:
        self._proxy = weakref.ref(proxy)

    def __call__(self, name: str) -> None:
        proxy = self._proxy()
        if proxy is not None and isinstance(proxy.__dict__.get(name), RemoteMethod):
            del proxy.__dict__[name]


proxy_classes.update(plain=DynamicProxy, attributes=DynamicProxyWithAttrs)


def getProxyForURI(URI: str | PyroURI) -> DynamicProxy:
    """A proxy for the object at `URI`. Raises `URIError` if it is malformed."""
    return DynamicProxy(URI)


def getAttrProxyForURI(URI: str | PyroURI) -> DynamicProxyWithAttrs:
    """A proxy with attribute access for the object at `URI`. Raises `URIError` if it is malformed."""
    return DynamicProxyWithAttrs(URI)


# Proxies and URIs travel by value: where the object is and how to call it, never who calls.


def _to_state(proxy: DynamicProxy) -> list[Any]:
    remote, attributes = proxy._remote, isinstance(proxy, DynamicProxyWithAttrs)
    return [str(remote.made_for), attributes, remote.timeout, sorted(remote.oneway), bool(remote.private)]


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
