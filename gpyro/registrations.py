"""What a daemon has at a name server: its names, and the lease that they live by."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final, Protocol

import gevent
from gevent.socket import create_connection, getaddrinfo

from gpyro import uri as uris
from gpyro.context import deadline
from gpyro.errors import (
    CallRefusedError,
    LeaseLostError,
    NamingError,
    NotSentError,
    ProtocolError,
    PyroError,
    SerializationError,
    URIError,
)
from gpyro.locks import Lock
from gpyro.logs import log
from gpyro.net.hub import HubState, limit
from gpyro.proxy import DynamicProxy
from gpyro.pyrouri import PyroURI

SEEN_EVERY: Final = 60.0
"""Seconds between notes that the server of a name without lease was heard of: each is a change that is saved."""

PROBE: Final = 1.0
"""Seconds for finding out whether the object that a name stands for is gone."""

LAST_WORDS: Final = 1.0
"""Seconds that a daemon which ends takes at most for withdrawing its names; else they end with their lease."""

AT_ONCE: Final = 32
"""Names that are registered again at the same time, so that they are saved together."""

MARKED_AT_ONCE: Final = 500
"""Names in one note that their server was heard of."""

_SLACK: Final = 2.0
_LONGEST_PAUSE: Final = 1.0
_EARLY: Final = 0.2


class NameRegistry(Protocol):
    """What a daemon needs of a name server; `gpyro.naming.NameServerProxy` has it, and says what each method does."""

    @property
    def URI(self) -> PyroURI: ...
    def fullName(self, name: str) -> str: ...
    def look_up(self, name: str) -> tuple[int, str, bool] | None: ...
    def grant(self, seconds: float) -> tuple[int, str]: ...
    def enrol(self, name: str, URI: str, lease: int = 0, replacing: str = "", make_groups: bool = False) -> None: ...
    def keep(self, lease: int, seconds: float = 0.0) -> str: ...
    def withdraw(self, name: str, URI: str) -> bool: ...
    def revoke(self, lease: int) -> bool: ...
    def mark_seen(self, names: Iterable[str]) -> None: ...


class _Registration:
    """A name that is to stand for an object of the daemon.

    Attributes:
        name: absolute.
        uri: of the object.
        lasting: whether it stays when the daemon is gone.
        under: what it was registered under last: the lease, or the identity of the store; it is as good as gone when
            these change.
        refused: why it could not be registered again, if that was told.
    """

    __slots__ = ("lasting", "name", "refused", "under", "uri")

    def __init__(self, name: str, uri: str, lasting: bool) -> None:
        self.name, self.uri, self.lasting = name, uri, lasting
        self.under: int | str = 0
        self.refused = ""


class Registrations:
    """The names of one daemon at one name server. Works from any thread.

    Attributes:
        ns: the name server.
    """

    def __init__(self, ns: NameRegistry, seconds: float, knows: Callable[[str], bool]) -> None:
        """Nothing is registered yet.

        Args:
            ns: the name server.
            seconds: what a lease lasts.
            knows: tells whether the daemon has an object with this id.
        """
        self.ns = ns
        self._knows = knows
        self._seconds = seconds
        self._names: dict[str, _Registration] = {}
        self._unwanted: dict[str, str] = {}  # what may be registered and should not be: URIs by name
        self._lease, self._identity = 0, ""
        self._granting = Lock()
        self._process = os.getpid()
        self._keeper: Any = None
        self._state: HubState | None = None
        self._seen = monotonic()
        self._ended = False

    # Names come and go

    def enter(self, name: str, uri: str, lasting: bool = False, replacing: str = "") -> str:
        """Register an object. When this raises, it is not, or will be withdrawn as soon as that is possible.

        Args:
            name: absolute, or relative to the default group.
            uri: of the object.
            lasting: whether it stays when the daemon is gone.
            replacing: the URI that the name may stand for until now.

        Returns:
            The absolute name.

        Raises:
            NamingError: as `NameServerProxy.register`; 'name already exists' not if it is that of an object of this
                machine that is gone, and was registered by a daemon.
            ProtocolError: the name server cannot be asked.
            StoreError: its store fails.
        """
        full = self.ns.fullName(name)
        self._check_reach(uri)
        registration = _Registration(full, uri, lasting)
        try:
            try:
                self._enrol(registration, replacing)
            except NamingError as error:
                gone = self._abandoned(full, uri) if error.args[0] == "name already exists" else ""
                if not gone:
                    raise
                self._enrol(registration, gone)
        except BaseException as error:
            refused = isinstance(error, NamingError | NotSentError | CallRefusedError | SerializationError)
            if not refused and full not in self._names:
                self._unwanted[full] = uri
            raise
        self._names[full] = registration
        self._unwanted.pop(full, None)
        return full

    def leave(self, name: str, uri: str) -> None:
        """Withdraw an object by its absolute name. When this raises, it stays registered.

        Raises:
            ProtocolError, StoreError: as `enter`.
        """
        registration = self._names.pop(name, None)
        try:
            self.ns.withdraw(name, uri)
        except BaseException:
            if registration is not None:
                self._names.setdefault(name, registration)
            raise

    def give_back(self, name: str, uri: str) -> None:
        """Withdraw an object, now or as soon as that is possible."""
        try:
            self.leave(name, uri)
        except (PyroError, OSError):
            self._names.pop(name, None)
            self._unwanted[name] = uri

    def _forget(self, registration: _Registration) -> None:
        if self._names.get(registration.name) is registration:
            del self._names[registration.name]

    def _enrol(self, registration: _Registration, replacing: str = "", make_groups: bool = False) -> None:
        while True:
            lease = 0 if registration.lasting else self._some_lease()
            try:
                self.ns.enrol(registration.name, registration.uri, lease, replacing, make_groups)
            except LeaseLostError:
                self._lost(lease)
                continue
            registration.under = self._identity if registration.lasting else lease
            return

    def _some_lease(self) -> int:
        """The lease, made if need be."""
        if not self._lease:
            with self._granting:
                if not self._lease:
                    self._lease, self._identity = self.ns.grant(self._seconds)
        return self._lease

    def _lost(self, lease: int) -> None:
        if self._lease == lease:
            self._lease = 0

    def _check_reach(self, uri: str) -> None:
        address, theirs = PyroURI(uri).address, self.ns.URI.address
        if _leads_home(address) and not _leads_home(theirs):
            raise NamingError(
                "invalid URI",
                uri,
                f"{address} leads each machine to itself, but the name server is at {theirs}: bind an address of the "
                "network (PYRO_HOST), or say which one URIs are to have (PYRO_PUBLISHHOST)",
            )

    def _abandoned(self, name: str, uri: str) -> str:
        """The URI that a name stands for, if its daemon ran on this machine, and the object is gone."""
        found = self.ns.look_up(name)
        if found is None or not found[2]:
            return ""
        try:
            before, ours = PyroURI(found[1]), PyroURI(uri)
        except URIError:
            return ""
        if before.address != ours.address:
            return ""
        # Its own port may not be served yet.
        is_own = before.port == ours.port and before.protocol == ours.protocol
        gone = not self._knows(before.objectID) if is_own else _is_gone(before)
        return found[1] if gone else ""

    # Keeping them

    def run(self, state: HubState) -> None:
        """Keep the names from now on, in the loop of `state`. From any thread."""
        if self._state is None:
            self._state = state
            state.call_soon(self._spawn)

    def _spawn(self) -> None:
        if not self._ended:
            self._keeper = gevent.spawn(self._keep)

    def _keep(self) -> None:
        every = self._seconds / 3
        told = False
        while not self._ended and self._process == os.getpid():
            try:
                with deadline(every + max(_SLACK, every)):
                    mended = self._mend()
                    asked = monotonic()
                    self._identity = self.ns.keep(self._lease, every if mended else 0.0)
                told = False
                if mended and monotonic() - asked < every / 2:  # it stops, or has too much to do to let us wait
                    gevent.sleep(min(every / 2, _EARLY))
            except LeaseLostError:
                self._lost(self._lease)
            except (PyroError, OSError) as error:
                if not told:
                    told = True
                    log.warning("the name server at %s cannot be reached, and is tried again: %s", self.ns.URI, error)
                gevent.sleep(min(every, _LONGEST_PAUSE))

    def _mend(self) -> bool:
        """See that what should be registered is, and what should not be is not; false if there is more to do."""
        names = list(self._names.values())
        leased, lasting = [one for one in names if not one.lasting], [one for one in names if one.lasting]
        lease = self._some_lease() if leased else 0
        lost = [one for one in leased if one.under != lease]
        lost += [one for one in lasting if one.under != self._identity]
        for name, uri in list(self._unwanted.items()):
            if name not in self._names:
                self.ns.withdraw(name, uri)
            self._unwanted.pop(name, None)
        if lasting and monotonic() - self._seen >= SEEN_EVERY:
            self._seen = monotonic()
            self._mark_seen(lasting)
        return self._register_again(lost)

    def _register_again(self, lost: list[_Registration]) -> bool:
        """Register many at a time, though not for so long that the lease would suffer; whether that was all."""
        until = monotonic() + self._seconds / 6

        def work() -> None:
            while lost and monotonic() < until:
                self._register_one_again(lost.pop())

        workers = [gevent.spawn(work) for _ in range(min(len(lost), AT_ONCE))]
        try:
            gevent.joinall(workers, raise_error=True)
        finally:
            gevent.killall(workers)
        return not lost

    def _register_one_again(self, registration: _Registration) -> None:
        try:
            self._enrol(registration, make_groups=True)
        except NamingError as error:
            if registration.refused != str(error):
                registration.refused = str(error)
                log.warning("a name is lost that %s had: %s", registration.uri, error)
        else:
            registration.refused = ""
            if self._names.get(registration.name) is not registration:  # it was given up meanwhile
                self._unwanted[registration.name] = registration.uri

    def _mark_seen(self, lasting: list[_Registration]) -> None:
        for first in range(0, len(lasting), MARKED_AT_ONCE):
            self.ns.mark_seen([one.name for one in lasting[first : first + MARKED_AT_ONCE]])

    # The end

    def withdraw_all(self) -> None:
        """Withdraw all names that live by the lease, as far as that is possible within `LAST_WORDS`. Never raises."""
        names = list(self._names.values())
        lasting = [one for one in names if one.lasting]
        lease, self._lease = self._lease, 0
        for one in names:
            self._forget(one)
        if self._process != os.getpid() or not (lease or lasting or self._unwanted):
            return
        unwanted, self._unwanted = self._unwanted, {}
        try:
            with limit(LAST_WORDS):
                if lease:
                    self.ns.revoke(lease)
                for name, uri in unwanted.items():
                    self.ns.withdraw(name, uri)
                if lasting:
                    self._mark_seen(lasting)
        except (PyroError, OSError) as error:
            log.warning("names could not be withdrawn at %s, and end with their lease: %s", self.ns.URI, error)

    def end(self) -> None:
        """Keep nothing any more, and withdraw what there is. Not in the hub. May be repeated."""
        self._stop_keeping()
        self.withdraw_all()

    def end_soon(self) -> None:
        """As `end`, without waiting. On the thread of the loop that keeps them."""
        self._stop_keeping()
        if self._lease or self._unwanted:
            self.withdraw_soon()

    def withdraw_soon(self) -> None:
        """As `withdraw_all`, without waiting. On the thread of the loop that keeps them."""
        state = self._state
        if state is not None and not state.closed:
            state.run_in_hub(lambda: state.start(lambda first, second: self.withdraw_all()))

    def _stop_keeping(self) -> None:
        self._ended = True
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.kill(block=False)


def _is_gone(uri: PyroURI) -> bool:
    """Whether the object of a daemon on this machine is gone: nobody listens there, or does not know it.

    Silence proves nothing.
    """
    proxy = DynamicProxy(uri)
    proxy._setTimeout(PROBE)
    try:
        proxy._flush()
    except NamingError:
        return True
    except NotSentError:
        return uris.is_unix(uri.address) or _is_refused(uri)
    except ProtocolError as error:
        return type(error) is ProtocolError  # of this very class it is the answer of a daemon that does not know it
    except PyroError:
        return False
    finally:
        proxy._release()
    return False


def _is_refused(uri: PyroURI) -> bool:
    """Whether nobody listens where a proxy could not connect to."""
    try:
        create_connection((uri.address, uri.port), PROBE).close()
    except OSError as error:
        return isinstance(error, ConnectionRefusedError)
    return False


def _leads_home(address: str) -> bool:
    """Whether an address leads each machine to itself."""
    if uris.is_own(address):
        return True
    try:
        found = {str(entry[4][0]) for entry in getaddrinfo(address, 0, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False  # nobody knows
    return all(map(uris.is_own, found))
