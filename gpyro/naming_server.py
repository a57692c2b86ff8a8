"""The name servers: the objects that are known as ``:Pyro.NameServer``.

Names are given absolute, or relative to the server's own default group; `gpyro.naming.NameServerProxy` makes them
absolute by its own. Every method that clients reach raises what `gpyro.namespace.NameSpace` says, and StoreError when
the store fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import gevent
from gevent.event import Event

from gpyro import uri as uris
from gpyro.errors import CompactedError, LeaseLostError, NamingError, StoreError, URIError
from gpyro.exposure import expose
from gpyro.names import full_name, shown
from gpyro.namespace import OBJECT, NameSpace, NameSpaceSystemMeta
from gpyro.namespace.records import KEYS, name_of
from gpyro.net.hub import hub_state, limit
from gpyro.objects import ObjBase
from gpyro.settings import config
from gpyro.store_contract import MAX_PAGE, Store, Watch
from gpyro.stores import MemoryStore, SqliteStore
from gpyro.tls import current_call
from gpyro.values import register_class

NO_PAIRS: Final = "name servers are not run in pairs; several of them are to share one store"

WILL_SHUT_DOWN: Final = "Will shut down shortly"
SHUTDOWN_DENIED: Final = "Shutdown request denied"

LONGEST_WAIT: Final = 60.0
"""Seconds that a call waits at most for something to happen."""

MAX_WAITING: Final = 64
"""Calls of one connection that may wait at the same time."""

MAX_FOLLOWED: Final = 1000
"""Names in one call of `NameServer.follow` or `NameServer.mark_seen`."""

IDLE: Final = 1.0
"""Seconds after which it is noticed at the latest that nobody follows names any more."""

# Inside the class `list` is a method.
_Pairs = list[tuple[str, Any]]
_Rows = list[tuple[Any, ...]]

register_class(NameSpaceSystemMeta, name="gpyro.NameSpaceSystemMeta")


class _Feed:
    """Wakes those who follow names when something happened to one of them. While nobody does, it costs nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: dict[str, set[Event]] = {}
        self._greenlet: Any = None

    def follow(self, names: Iterable[str], event: Event) -> None:
        """Have `event` set from now on."""
        for name in names:
            self._followers.setdefault(name, set()).add(event)
        if self._greenlet is None and self._followers:
            # In the hub, for it is not to inherit what belongs to the call.
            revision = self._store.list(KEYS, limit=1).revision
            self._greenlet = gevent.Greenlet(self._run, revision)
            hub_state().run_in_hub(self._greenlet.start)

    def forget(self, names: Iterable[str], event: Event) -> None:
        """No longer."""
        for name in names:
            followers = self._followers[name]
            followers.discard(event)
            if not followers:
                del self._followers[name]

    def _run(self, revision: int) -> None:
        try:
            while self._followers:
                try:
                    with self._store.watch(KEYS, revision) as watch:
                        self._go_on(watch)
                except CompactedError:
                    revision = self._store.list(KEYS, limit=1).revision
                    self.wake_all()
        except StoreError:  # it was closed
            self.wake_all()
        finally:
            self._greenlet = None

    def _go_on(self, watch: Watch) -> None:
        while self._followers:
            change = watch.next(IDLE)
            if change is not None:
                self._wake({name_of(key) for key, _ in change.events})

    def wake_all(self) -> None:
        """Have all of them look."""
        self._wake(self._followers)

    def _wake(self, names: Iterable[str]) -> None:
        for name in names:
            for event in self._followers.get(name, ()):
                event.set()

    def close(self) -> None:
        """Let go of it."""
        if self._greenlet is not None:
            self._greenlet.kill()


@expose("register", "unregister", "resolve", "list", "flatlist", "createGroup", "deleteGroup", "setMeta", "getMeta")
@expose("ping", "resync", "shut_down", "system_meta", "set_system_meta", "look_up", "list_page", "flat_page")
@expose("grant", "enrol", "keep", "withdraw", "revoke", "mark_seen", "follow", "keys_page", "key_changes")
class NameServer(ObjBase):
    """A name server that keeps its names in memory, or in a store that is given to it.

    Attributes:
        space: the rules, over the store.
        keep_running: whether requests to shut down are denied.
    """

    # What is said to those who ask, and no news for the log; of what fails the store itself tells there.
    _pyro_answers = (NamingError, LeaseLostError, CompactedError, StoreError)

    def __init__(self, role: object = None, identification: object = None, *, store: Store | None = None) -> None:
        """Nothing is open yet.

        Args:
            role: 0, None, or such a value first in a tuple; Pyro 3's primary and secondary roles are refused.
            identification: not used, since it was for talking to the other one of a pair.
            store: keeps the names; the server opens and closes it.

        Raises:
            NamingError: a role of a pair.
        """
        super().__init__()
        if (role[:1] if isinstance(role, tuple) else (role,)) not in ((), (0,), (None,)):
            raise NamingError(NO_PAIRS)
        self.space = NameSpace(store or MemoryStore(), time.time, lambda: config.PYRO_NS_DEFAULTGROUP)
        self.keep_running = False
        self._on_shut_down: Callable[[], object] | None = None
        self._feed: _Feed | None = None
        self._closing = Event()
        self._watches: set[Watch] = set()
        self._waiting: dict[Any, int] = {}  # calls that wait for something to happen, by connection

    def open(self, on_shut_down: Callable[[], object] | None = None) -> None:
        """Open the store, and see that the groups ``:Pyro`` and the default one are there.

        Args:
            on_shut_down: called when a client asks for the end.

        Raises:
            StoreError: the store cannot be opened.
            NamingError: the default group is an object.
        """
        self._store.open()
        self.space.prepare()
        self._feed = _Feed(self._store)
        self._on_shut_down = on_shut_down

    def let_go(self) -> None:
        """Answer all calls that wait for something to happen: the server is about to stop."""
        self._closing.set()
        for watch in list(self._watches):
            watch.close()
        if self._feed is not None:
            self._feed.wake_all()

    def close(self) -> None:
        """Close the store. May be repeated."""
        self.let_go()
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        self._store.close()

    @property
    def _store(self) -> Store:
        return self.space.store

    # What Pyro 3 documents

    def register(self, name: str, URI: object) -> None:
        """Register an object for as long as nobody removes it; `URI` is a `PyroURI` or a text.

        Raises:
            NamingError: as `NameSpace.register`; 'invalid URI' also for one that only the machine it comes from can
                use, when it comes from another machine than the name server's.
        """
        self.space.register(name, URI, 0, self._check_owner(URI))

    def unregister(self, name: str) -> None:
        """As `NameSpace.unregister`."""
        self.space.unregister(name)

    def resolve(self, name: str) -> str:
        """As `NameSpace.resolve`: the URI as a text."""
        return self.space.resolve(name)

    def list(self, groupname: str | None = None) -> list[tuple[str, int]]:
        """As `NameSpace.list`; None or empty for the root."""
        return self.space.list(groupname)

    def flatlist(self) -> _Pairs:
        """As `NameSpace.flatlist`."""
        return self.space.flatlist()

    def createGroup(self, groupname: str) -> None:
        """As `NameSpace.createGroup`."""
        self.space.createGroup(groupname)

    def deleteGroup(self, groupname: str) -> None:
        """As `NameSpace.deleteGroup`."""
        self.space.deleteGroup(groupname)

    def setMeta(self, name: str, meta: Any) -> None:
        """As `NameSpace.setMeta`."""
        self.space.setMeta(name, meta)

    def getMeta(self, name: str) -> Any:
        """As `NameSpace.getMeta`."""
        return self.space.getMeta(name)

    def ping(self) -> None:
        """Do nothing."""

    def resync(self) -> None:
        """Raise NamingError: there are no pairs of name servers."""
        raise NamingError(NO_PAIRS)

    # What lies behind methods of `NameServerProxy`

    def system_meta(self, name: str) -> NameSpaceSystemMeta:
        """As `NameSpace._getSystemMeta`."""
        return self.space._getSystemMeta(name)

    def set_system_meta(self, name: str, meta: NameSpaceSystemMeta) -> None:
        """As `NameSpace._setSystemMeta`."""
        self.space._setSystemMeta(name, meta)

    def shut_down(self) -> str:
        """Ask the server to end; gives what becomes of that."""
        if self.keep_running or self._on_shut_down is None:
            return SHUTDOWN_DENIED
        self._on_shut_down()
        return WILL_SHUT_DOWN

    def look_up(self, name: str) -> tuple[int, str, bool] | None:
        """Type, URI, and whether the name lives by a lease; None if it is not there. Raises NamingError: 'invalid'."""
        node = self.space.look_up(name)
        return None if node is None else (node.record.type, node.record.uri, bool(node.entry.lease))

    def list_page(self, groupname: str | None, after: str = "") -> tuple[_Pairs, bool]:
        """As `NameSpace.list_page`."""
        return self.space.list_page(groupname, after)

    def flat_page(self, after: str = "") -> tuple[_Pairs, str]:
        """As `NameSpace.flat_page`."""
        return self.space.flat_page(after)

    # For daemons

    def grant(self, seconds: float) -> tuple[int, str]:
        """Make a lease of so many seconds: its number, and the identity of the store that knows it."""
        return self._store.grant(seconds).id, self._store.identity

    def enrol(self, name: str, URI: object, lease: int = 0, replacing: str = "", make_groups: bool = False) -> None:
        """Register an object, be it again, under a lease; see `NameSpace.enrol`.

        Args:
            name: as in `register`.
            URI: as in `register`.
            lease: as `grant` gave it; 0 for none.
            replacing: see `NameSpace.enrol`.
            make_groups: whether to make the groups that it is in, if they are not there.

        Raises:
            NamingError: as `register`.
            LeaseLostError: the lease is over.
        """
        owner = self._check_owner(URI)
        if make_groups:
            name = full_name(name, config.PYRO_NS_DEFAULTGROUP)
            self.space.prepare([name.rpartition(".")[0] or ":"])
        self.space.enrol(name, URI, lease, owner, replacing)

    def keep(self, lease: int, seconds: float = 0.0) -> str:
        """Renew a lease; gives the identity of the store, after so many seconds, or when the server is about to stop.

        A daemon that waits for the answer knows at once when the server goes.

        Raises:
            LeaseLostError: the lease is over.
        """
        if lease:
            self._store.renew(lease)
        with self._waiting_room(seconds) as wait:
            if wait > 0:
                self._closing.wait(wait)
        return self._store.identity

    def withdraw(self, name: str, URI: str) -> bool:
        """Take an object out if the name still stands for this URI, and tell whether it did."""
        while True:
            node = self.space.look_up(name)
            if node is None or node.record.type != OBJECT or node.record.uri != URI:
                return False
            if self.space.withdraw(node):
                return True

    def revoke(self, lease: int) -> bool:
        """Take out all that lives by a lease; whether there was one."""
        return self._store.revoke(lease)

    def mark_seen(self, names: Iterable[str]) -> None:
        """Note that the servers of these names were heard of now, where they are still there."""
        for name in list(names)[:MAX_FOLLOWED]:
            try:
                self.space.mark_seen(name)
            except NamingError as error:
                if error.args[0] != "name not found":
                    raise

    # For those who follow names

    def follow(self, known: dict[str, str], seconds: float = 0.0) -> dict[str, str | None]:
        """Wait until one of these names stands for something else than the caller knows.

        Args:
            known: absolute names, each with the URI that it stood for; empty where there was no object.
            seconds: to wait at most.

        Returns:
            What is different: names with the URIs that they stand for now, None where there is no object. Empty if that
            is nothing.

        Raises:
            ValueError: more than `MAX_FOLLOWED` names.
        """
        if len(known) > MAX_FOLLOWED:
            raise ValueError(f"at most {MAX_FOLLOWED} names can be followed in one call, not {len(known)}")
        if self._feed is None:
            raise StoreError("the name server is closed")
        event = Event()
        names = {full_name(name, config.PYRO_NS_DEFAULTGROUP): name for name in known}
        different = self._different(names, known)
        with self._waiting_room(seconds) as wait:
            if different or wait <= 0:
                return different
            self._feed.follow(names, event)
            try:
                with limit(wait):
                    while not (different := self._different(names, known)) and not self._closing.is_set():
                        event.wait()
                        event.clear()
                return different
            finally:
                if self._feed is not None:
                    self._feed.forget(names, event)

    def _different(self, names: dict[str, str], known: dict[str, str]) -> dict[str, str | None]:
        different: dict[str, str | None] = {}
        for full, name in names.items():
            node = self.space.look_up(full)
            uri = node.record.uri if node is not None else ""
            if uri != known[name]:
                different[name] = uri or None
        return different

    def keys_page(self, prefix: str, after: str = "") -> tuple[str, int, bool, _Rows]:
        """A page of the store's keys: identity, revision, whether there is more, and the entries."""
        page = self._store.list(prefix, after)
        return self._store.identity, page.revision, page.more, [tuple(entry) for entry in page.entries]

    def key_changes(self, identity: str, prefix: str, after: int, seconds: float = 0.0) -> tuple[int, _Rows]:
        """The changes of the store's keys after a revision.

        Args:
            identity: of the store that the revision is of.
            prefix: what the keys begin with.
            after: the revision.
            seconds: to wait at most for the first change.

        Returns:
            The revision up to which these are all, and each change: its revision, and its keys with their entries.

        Raises:
            CompactedError: they are not remembered any more; the keys have to be listed again.
        """
        if identity != self._store.identity:
            raise CompactedError("the store is another one now")
        changes: _Rows = []
        with self._waiting_room(seconds) as wait, self._store.watch(prefix, after) as watch:
            self._watches.add(watch)
            try:
                change = watch.next(wait)
                while change is not None:
                    events = [(key, None if entry is None else tuple(entry)) for key, entry in change.events]
                    changes.append((change.revision, events))
                    change = watch.next(0) if len(changes) < MAX_PAGE else None
            except StoreError:
                if not self._closing.is_set():
                    raise
            finally:
                self._watches.discard(watch)
        return watch.revision, changes

    @contextmanager
    def _waiting_room(self, seconds: float) -> Iterator[float]:
        """How long the current call may wait, of what it asks for: not at all, if too many of its connection do."""
        call = current_call()
        channel = None if call is None else call.session.channel
        there = self._waiting.get(channel, 0)
        if not seconds > 0 or self._closing.is_set() or (channel is not None and there >= MAX_WAITING):
            yield 0.0
            return
        self._waiting[channel] = there + 1
        try:
            with nullcontext() if call is None else hub_state().workers.waiting():
                yield min(seconds, LONGEST_WAIT)
        finally:
            self._waiting[channel] -= 1
            if not self._waiting[channel]:
                del self._waiting[channel]

    def _check_owner(self, uri: object) -> str | None:
        """Who registers this, if that is known; refuses what nobody else can use."""
        call = current_call()
        if call is None:
            return None
        channel = call.session.channel
        if not _is_ours(channel.address):
            self._check_reach(uri)
        return channel.identity or None

    def _check_reach(self, uri: object) -> None:
        """Refuse what leads another machine to itself."""
        try:
            address = uris.parse(str(uri)).address
        except URIError:
            return  # the name space says so
        if uris.is_own(address):
            raise NamingError(
                "invalid URI",
                shown(str(uri)),
                f"{address} leads each machine to itself, and this name server is another machine's, too: bind an "
                "address of the network (PYRO_HOST), or say which one URIs are to have (PYRO_PUBLISHHOST)",
            )


class PersistentNameServer(NameServer):
    """A name server that keeps its names in a file, ``names.db`` in a directory of its own."""

    def __init__(self, dbdir: str | None = None, role: object = None, identification: object = None) -> None:
        """Nothing is open yet.

        Args:
            dbdir: the directory, below PYRO_STORAGE unless it is absolute; None for ``Pyro_NS_database``. It is made.
            role: as of `NameServer`.
            identification: as of `NameServer`.
        """
        self._directory = os.path.join(config.PYRO_STORAGE, dbdir or "Pyro_NS_database")
        self._path = os.path.join(self._directory, "names.db")
        store = SqliteStore(self._path)
        super().__init__(role, identification, store=store)

    def getDBDir(self) -> str:
        """The directory, absolute."""
        return os.path.abspath(self._directory)

    def open(self, on_shut_down: Callable[[], object] | None = None) -> None:
        """As `NameServer.open`; makes the directory."""
        try:
            os.makedirs(self._directory, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the directory {self._directory} cannot be made: {error.strerror}") from error
        try:
            super().open(on_shut_down)
        except StoreError as error:
            if self._path in str(error):
                raise
            raise StoreError(f"cannot use {self._path}: {error}", error.may_have_happened) from error


def _is_ours(peer: Any) -> bool:
    """Whether a peer's address is that of this machine, as far as addresses tell."""
    return not isinstance(peer, tuple) or uris.is_own(str(peer[0]))
