"""`NameServerProxy`: a name server as its clients have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

import gevent

from gpyro.adapter import PYROAdapter
from gpyro.constants import NAMESERVER_NAME
from gpyro.errors import CallRefusedError, MaybeExecutedError, NamingError, NotSentError, PyroError, TimeoutError
from gpyro.name_view import NameView
from gpyro.names import full_name
from gpyro.namespace import NameSpaceSystemMeta
from gpyro.proxy import DynamicProxy
from gpyro.pyrouri import PyroURI
from gpyro.settings import config
from gpyro.values import register_class

Search = Callable[[], PyroURI]
"""Looks for a name server again; raises NamingError if there is none."""

BETWEEN_TRIES = 0.1
"""Seconds between two attempts to reach a name server that was lost."""

_Pairs = list[tuple[str, Any]]  # inside the class `list` is a method


def place_of(uri: PyroURI) -> PyroURI:
    """Where a name server is, in the form that outlives it: by its name at its address, not by the object's id."""
    return PyroURI(uri.address, NAMESERVER_NAME, uri.port, "PYROLOC")


def patience() -> float:
    """Seconds for which a name server is looked for, as the configuration is now."""
    settings = config.snapshot()
    if settings.PYRO_BC_RETRIES < 0 or settings.PYRO_BC_TIMEOUT < 0:
        return settings.PYRO_CONNECT_TIMEOUT
    return float((1 + settings.PYRO_BC_RETRIES) * settings.PYRO_BC_TIMEOUT)


def is_elsewhere(error: NamingError) -> bool:
    """Whether it says that a daemon has no name server: another one took its port, or this one is not ready yet."""
    return error.args[:2] == ("no object found by this name", NAMESERVER_NAME)


def _default_group() -> str:
    return str(config.PYRO_NS_DEFAULTGROUP)


class NameServerProxy:
    """A name server. Relative names are made absolute here, by this process's PYRO_NS_DEFAULTGROUP.

    When the name server went away, it is looked for again, as long as PYRO_BC_TIMEOUT and PYRO_BC_RETRIES say: where it
    was, or, if it had been found by searching, by searching once more. Then the call is repeated, unless it may have
    run and running twice would not be the same; such a call raises MaybeExecutedError.

    All methods that call raise NamingError where the name server refuses, StoreError where its store fails, and
    otherwise as calls of any proxy do.
    """

    def __init__(
        self,
        URI: str | PyroURI,
        identification: str | tuple[str, str] | None = None,
        noconnect: int = 0,
        search: Search | None = None,
    ) -> None:
        """Connect to the name server at `URI`.

        Args:
            URI: of the name server; what counts is host and port.
            identification: who connects; the name server has to prove that it knows the passphrase, too.
            noconnect: true to connect with the first call only.
            search: how to look for it when it is lost; None for trying where it was.

        Raises:
            URIError: the URI is malformed.
            ProtocolError: as a call does that cannot connect.
            NamingError: there is another daemon, and no name server, at this place.
        """
        self._proxy = DynamicProxy(place_of(PyroURI(URI)))
        self._identification = identification
        self._search = search
        if identification is not None:
            self._proxy._setIdentification(identification)
        if not noconnect:
            self._proxy._remote.call("ping")

    # What Pyro 3 documents

    def fullName(self, name: str) -> str:
        """The absolute form of a name. Raises NamingError: 'invalid name' or 'default group name is not absolute'."""
        return full_name(name, _default_group)

    def register(self, name: str, URI: str | PyroURI) -> None:
        """Register an object for as long as nobody removes it. A daemon's own objects are registered by `connect`.

        Raises:
            NamingError: 'name already exists', '(parent)group not found', 'parent is no group', 'invalid name' or
                'invalid URI'.
        """
        self._once("register", self.fullName(name), str(URI))

    def unregister(self, name: str) -> None:
        """Take an object out. Raises NamingError: 'name not found' or 'is a group, not an object'."""
        self._once("unregister", self.fullName(name))

    def resolve(self, name: str) -> PyroURI:
        """The URI of an object.

        Raises:
            NamingError: 'name not found', 'attempt to resolve groupname' or 'group not found'.
        """
        return PyroURI(self._again("resolve", self.fullName(name)))

    def list(self, groupname: str | None = None) -> _Pairs:
        """What is in a group: the last parts of the names, sorted, each with 0 for a group or 1 for an object.

        Args:
            groupname: the group; None or empty for the default one.

        Raises:
            NamingError: 'group not found' or 'is no group'.
        """
        group = self.fullName(groupname) if groupname else config.PYRO_NS_DEFAULTGROUP
        found: _Pairs = []
        more = True
        while more:
            page, more = self._again("list_page", group, found[-1][0] if found else "")
            found += [(name, kind) for name, kind in page]
        return found

    def flatlist(self) -> _Pairs:
        """All objects, each an absolute name and a `PyroURI`, sorted."""
        return sorted((name, PyroURI(uri)) for page in self.flat_pages() for name, uri in page)

    def createGroup(self, groupname: str) -> None:
        """Make a group.

        Raises:
            NamingError: 'group already exists', '(parent)group not found', 'parent is no group' or 'invalid groupname'.
        """
        self._once("createGroup", self._group(groupname))

    def deleteGroup(self, groupname: str) -> None:
        """Take out a group with all that is in it.

        Raises:
            NamingError: 'group not found', 'is no group' or 'not allowed to delete root group'.
        """
        self._once("deleteGroup", self._group(groupname))

    def setMeta(self, name: str, meta: Any) -> None:
        """Keep a value with a group or an object. Raises NamingError: 'name not found' or 'metadata too large'."""
        self._once("setMeta", self.fullName(name), meta)

    def getMeta(self, name: str) -> Any:
        """What `setMeta` kept; None at first. Raises NamingError: 'name not found'."""
        return self._again("getMeta", self.fullName(name))

    def _setSystemMeta(self, name: str, meta: NameSpaceSystemMeta) -> None:
        """Replace the system metadata. Raises NamingError: 'name not found' or 'invalid system metadata'."""
        self._once("set_system_meta", self.fullName(name), meta)

    def _getSystemMeta(self, name: str) -> NameSpaceSystemMeta:
        """The system metadata. Raises NamingError: 'name not found'."""
        found: NameSpaceSystemMeta = self._again("system_meta", self.fullName(name))
        return found

    def ping(self) -> None:
        """See whether the name server answers."""
        self._again("ping")

    def resync(self) -> None:
        """Raises NamingError: there are no pairs of name servers."""
        self._once("resync")

    def _shutdown(self) -> str:
        """Ask the name server to end: 'Will shut down shortly' or 'Shutdown request denied'."""
        return str(self._once("shut_down"))

    def _release(self) -> None:
        """End the connection; the next call begins a new one."""
        self._proxy._release()

    def _setIdentification(self, ident: str | tuple[str, str] | None) -> None:
        """Say who connects, as with any proxy."""
        self._identification = ident
        self._proxy._setIdentification(ident)

    def _setTimeout(self, secs: float | None) -> None:
        """Give every call so many seconds, as with any proxy."""
        self._proxy._setTimeout(secs)

    def _transferThread(self, newOwnerThread: Any = None) -> None:
        """Does nothing: proxies have no owner."""

    @property
    def URI(self) -> PyroURI:
        """Where the name server is."""
        return self._proxy.URI

    @property
    def adapter(self) -> PYROAdapter:
        """The connection as an object."""
        return self._proxy.adapter

    # What daemons, and those who follow names, need

    def look_up(self, name: str) -> tuple[int, str, bool] | None:
        """Type (0 for a group, 1 for an object), URI, and whether it lives by a lease; None if it is not there."""
        found = self._again("look_up", self.fullName(name))
        return None if found is None else (found[0], found[1], found[2])

    def grant(self, seconds: float) -> tuple[int, str]:
        """Make a lease: its number, and the identity of the store that knows it."""
        number, identity = self._again("grant", seconds)
        return number, identity

    def enrol(
        self, name: str, URI: str | PyroURI, lease: int = 0, replacing: str = "", make_groups: bool = False
    ) -> None:
        """Register an object under a lease, be it again; see `gpyro.naming_server.NameServer.enrol`."""
        self._again("enrol", self.fullName(name), str(URI), lease, replacing, make_groups)

    def keep(self, lease: int, seconds: float = 0.0) -> str:
        """Renew a lease, and wait; see `gpyro.naming_server.NameServer.keep`."""
        return str(self._again("keep", lease, seconds))

    def withdraw(self, name: str, URI: str | PyroURI) -> bool:
        """Take an object out if the name still stands for this URI, and tell whether it did."""
        return bool(self._again("withdraw", self.fullName(name), str(URI)))

    def revoke(self, lease: int) -> bool:
        """Take out all that lives by a lease; whether there was one."""
        return bool(self._again("revoke", lease))

    def mark_seen(self, names: Iterable[str]) -> None:
        """Note that the servers of these names were heard of now."""
        self._again("mark_seen", [self.fullName(name) for name in names])

    def flat_pages(self) -> Iterator[_Pairs]:
        """All objects, each an absolute name and a URI as text, some at a time and not sorted: there may be many."""
        after, more = "", True
        while more:
            page, after = self._again("flat_page", after)
            yield [(name, uri) for name, uri in page]
            more = bool(after)

    def follow(self, known: dict[str, str], seconds: float = 0.0) -> dict[str, str | None]:
        """Wait until names stand for something else; see `gpyro.naming_server.NameServer.follow`."""
        return dict(self._again("follow", known, seconds))

    def view(self) -> NameView:
        """A copy of all names that follows them; to be closed, or used as a context manager."""
        return NameView(self._proxy)

    # Calling

    def _group(self, name: str) -> str:
        return full_name(name, _default_group, "invalid groupname")

    def _once(self, method: str, *arguments: Any) -> Any:
        """Call a method that must not run twice."""
        return self._call(method, arguments, repeatable=False)

    def _again(self, method: str, *arguments: Any) -> Any:
        """Call a method that may as well run twice."""
        return self._call(method, arguments, repeatable=True)

    def _call(self, method: str, arguments: tuple[Any, ...], repeatable: bool) -> Any:
        until = None
        while True:
            try:
                return self._proxy._remote.call(method, *arguments)
            except (NotSentError, CallRefusedError, MaybeExecutedError, NamingError) as error:
                if isinstance(error, MaybeExecutedError) and not repeatable:
                    raise
                if isinstance(error, NamingError) and not is_elsewhere(error):
                    raise
                if until is None:
                    until = monotonic() + patience()
                elif monotonic() >= until:
                    raise
            self._find_again()

    def _find_again(self) -> None:
        """The name server is not where it was, or not there yet."""
        if self._search is None:
            gevent.sleep(BETWEEN_TRIES)
            return
        try:
            found = self._search()
        except (NamingError, TimeoutError):
            return  # the next attempt tells where it was missed
        if place_of(found) != self._proxy._remote.made_for:
            self._proxy.URI = place_of(found)
            if self._identification is not None:
                self._proxy._setIdentification(self._identification)

    # As a Python object

    def __repr__(self) -> str:
        return f"<NameServerProxy for {self.URI}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NameServerProxy):
            return NotImplemented
        return self._proxy._remote.made_for == other._proxy._remote.made_for

    def __hash__(self) -> int:
        return hash(self._proxy._remote.made_for)

    def __copy__(self) -> NameServerProxy:
        """A new, unconnected proxy."""
        return NameServerProxy(self._proxy._remote.made_for, self._identification, 1, self._search)

    def __deepcopy__(self, memo: Any) -> Any:
        raise PyroError("cannot deepcopy a proxy")

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_state, (_to_state(self),)


def _to_state(proxy: NameServerProxy) -> str:
    """Where the name server is, never who connects."""
    return str(proxy._proxy._remote.made_for)


def _from_state(state: str) -> NameServerProxy:
    return NameServerProxy(state, noconnect=1)


register_class(NameServerProxy, name="gpyro.NameServerProxy", to_state=_to_state, from_state=_from_state)
