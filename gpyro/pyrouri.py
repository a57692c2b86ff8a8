"""`PyroURI`: a URI as programs hold it, with defaults and proxies. Parsing and printing are `gpyro.uri`'s."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from gpyro import names, uri
from gpyro.errors import NamingError, URIError
from gpyro.settings import config

if TYPE_CHECKING:
    from gpyro.proxy import DynamicProxy, DynamicProxyWithAttrs

proxy_classes: dict[str, Any] = {}
"""Filled by `gpyro.proxy`, which stands on this module."""


@functools.total_ordering
class PyroURI:
    """Where an object is. A proxy takes a copy, so one URI can make many.

    Attributes:
        protocol: ``PYRO``, ``PYROLOC`` or ``PYRONAME``.
        address: host, or ``./u:`` and the path of a Unix socket; for PYRONAME that of the name server, or nothing.
        port: TCP port; 0 for a Unix socket, and for PYRONAME where none was given.
        objectID: the object's id; for PYROLOC the name it was connected under, for PYRONAME the one it is registered
            under.
    """

    def __init__(self, host: str | PyroURI, objectID: str | int = 0, port: int = 0, prtcol: str = "PYRO") -> None:
        """Copy a URI, parse a string that contains ``://``, or put one together from its parts.

        Raises:
            URIError: the URI, or a part of it, is malformed; the text says what.
            TypeError: the port is no integer.
        """
        if isinstance(host, PyroURI):
            self._set(host.protocol, host.address, host.port, host.objectID)
        elif isinstance(host, str) and "://" in host:
            self.reinitFromString(host)
        else:
            if not objectID:
                raise URIError(
                    f"invalid URI format: {host!r} is no URI such as PYRO://host:port/id or PYROLOC://host:port/name, "
                    "and there is no object id"
                )
            self.init(host, str(objectID), port, prtcol)

    def _set(self, protocol: str, address: str, port: int, object_id: str) -> None:
        self.protocol = protocol
        self.address = address
        self.port = port
        self.objectID = object_id

    def init(self, host: str, objectID: str, port: int = 0, prtcol: str = "PYRO") -> None:
        """Set all parts. A port of 0 stands for PYRO_PORT. Raises as the constructor does."""
        if not isinstance(port, int):
            raise TypeError("port must be integer")
        parsed = uri.ParsedURI(prtcol, host, port, objectID)
        self._take(uri.parse(uri.format(parsed)))

    def reinitFromString(self, text: str) -> None:
        """Take over what a string says.

        Raises:
            URIError: it is malformed.
            NamingError: the name of a PYRONAME URI is none.
        """
        self._take(uri.parse(text))

    def _take(self, parsed: uri.ParsedURI) -> None:
        if parsed.protocol not in ("PYRO", "PYROLOC", "PYRONAME"):
            raise URIError(f"unsupported protocol: {parsed.protocol}")
        port = parsed.port
        if parsed.protocol == "PYRONAME":
            wrong = names.fault(parsed.objectID)
            if wrong:
                raise NamingError("invalid name", names.shown(parsed.objectID), wrong)
        elif not port and not uri.is_unix(parsed.address):
            port = config.PYRO_PORT
        self._set(parsed.protocol, parsed.address, port, parsed.objectID)

    def clone(self) -> PyroURI:
        """A copy."""
        return PyroURI(self)

    def getProxy(self) -> DynamicProxy:
        """A new proxy for the object."""
        proxy: DynamicProxy = proxy_classes["plain"](self)
        return proxy

    def getAttrProxy(self) -> DynamicProxyWithAttrs:
        """A new proxy with attribute access for the object."""
        proxy: DynamicProxyWithAttrs = proxy_classes["attributes"](self)
        return proxy

    def __str__(self) -> str:
        return uri.format(self)

    def __repr__(self) -> str:
        return f"<PyroURI {str(self)!r}>"

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, PyroURI) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return str(self) < str(other) if isinstance(other, PyroURI) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return PyroURI, (str(self),)
