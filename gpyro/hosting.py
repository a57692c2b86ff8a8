"""The objects of a daemon: connecting them, finding them, and letting go of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import ip_address
from socket import SOCK_STREAM
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from gevent import monkey
from gevent.socket import getaddrinfo

from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.dispatch import Dispatcher
from gpyro.errors import DaemonError, URIError
from gpyro.guid import getGUID
from gpyro.instances import MODES
from gpyro.logs import Log
from gpyro.net.channel import Channel
from gpyro.net.hub import HubState
from gpyro.net.listener import Listener
from gpyro.objects import ObjBase
from gpyro.proxy import DynamicProxy, DynamicProxyWithAttrs
from gpyro.pyrouri import PyroURI
from gpyro.reaping import Reaper
from gpyro.registrations import NameRegistry, Registrations
from gpyro.servant import DaemonServant
from gpyro.settings import Settings
from gpyro.tls import LocalStorage, getLocalStorage
from gpyro.uri import is_unix

if TYPE_CHECKING:
    from gpyro.hub_daemon import Daemon

# Of real threads, also in a patched process, and such that a signal handler may take it again.
_make_lock = monkey.get_original("threading", "RLock")


class _Listing(NamedTuple):
    """Where the name of an object is to be registered.

    Attributes:
        name: the name, as the program gave it.
        registry: where.
        lasting: whether it stays when the daemon is gone.
        replacing: URI that it may stand for until now.
        warns: whether to warn that it is nowhere.
    """

    name: str | None
    registry: Registrations | None
    lasting: bool = False
    replacing: str = ""
    warns: bool = True


class ObjectHost:
    """What a daemon does with objects. Works from any thread, and from signal handlers.

    Attributes:
        hostname: what its URIs say as host.
        port: the port it listens on; 0 for a Unix socket.
        protocol: ``PYRO``.
        settings: the configuration, as it was when the daemon was made.
    """

    hostname: str
    port: int
    protocol: str
    _listener: Listener

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._closed = False
        self._state: HubState | None = None
        self._dispatcher = Dispatcher(settings)
        self._ids: dict[int, str] = {}
        self._changing = _make_lock()
        self._registry: Registrations | None = None
        self._registries: list[Registrations] = []
        self._registered: dict[str, tuple[Registrations, str]] = {}  # by id: where, and under which absolute name
        self._reaper = Reaper(self, self._dispatcher)
        self._add(INTERNAL_DAEMON_GUID, "__daemon__", DaemonServant(self._dispatcher))

    # The name server

    def useNameServer(self, NS: NameRegistry | None) -> None:
        """Register what is connected with a name from now on; what is registered elsewhere stays there.

        The names live by a lease (PYRO_NS_LEASE), which the daemon renews while its loop runs, and are withdrawn when
        it stops.

        Args:
            NS: the name server, as `gpyro.naming.NameServerLocator` gives it; None for none.

        Raises:
            TypeError: it is no `NameServerProxy`, such as a proxy of another kind.
        """
        if NS is not None and not all(hasattr(type(NS), name) for name in ("fullName", "enrol", "keep")):
            raise TypeError(f"a name server is a NameServerProxy, as NameServerLocator().getNS() gives, not {NS!r}")
        if NS is None or self._registry is None or self._registry.ns is not NS:
            self._registry = None if NS is None else self._registry_at(NS)

    def _registry_at(self, ns: NameRegistry) -> Registrations:
        for known in self._registries:
            if known.ns is ns:
                return known
        made = Registrations(ns, self.settings.PYRO_NS_LEASE, self._dispatcher.entries.__contains__)
        self._registries.append(made)
        return made

    def getNameServer(self) -> Any:
        """What `useNameServer` was given; None at first."""
        return None if self._registry is None else self._registry.ns

    # Objects

    def connect(self, obj: Any, name: str | None = None) -> PyroURI:
        """Make an object reachable, and register it if it has a name and a name server is in use.

        It is registered first, and connected only if that succeeded.

        Args:
            obj: an `ObjBase`, or any other object, whose public methods are reachable then.
            name: what to find it by; an object without name is transient, see `setTransientsCleanupAge`. A name that
                the object had before is withdrawn.

        Returns:
            The URI for its proxies.

        Raises:
            NamingError: the name server refuses the name: 'name already exists', 'invalid name', 'invalid URI' with
                what to do about that, and others.
            ProtocolError: the name server cannot be asked.
            StoreError: its store fails.
            DaemonError: the name is taken by another object here or no str, `obj` is a class, its ``ObjBase.__init__``
                did not run, or the daemon is closed.
            URIError: the object has an id that no URI can name.
        """
        return self._connect(obj, _Listing(name, self._registry))

    def connectPersistent(self, obj: Any, name: str | None = None) -> PyroURI:
        """Make an object reachable as `connect` does, under a name that stays when the daemon is gone.

        If the name stands for an object at this daemon's address and port, as before a restart, the object gets that
        one's id, so that its URI stays the same. If it stands for one elsewhere, it is taken over. Arguments and errors
        are those of `connect`.
        """
        registry = self._registry
        found = registry.ns.look_up(name) if registry is not None and isinstance(name, str) else None
        if found is None:
            return self._connect(obj, _Listing(name, registry, lasting=True))
        wanted = None
        with contextlib.suppress(URIError):  # of a group, which registering is refused for
            before = PyroURI(found[1])
            if (before.protocol, before.address, before.port) == (self.protocol, self.hostname, self.port):
                wanted = before.objectID
        return self._connect(obj, _Listing(name, registry, lasting=True, replacing=found[1]), wanted)

    def take_in(self, obj: ObjBase, name: str) -> PyroURI:
        """As `connect`, for a name server itself: it is not registered by a daemon. Arguments and errors are those."""
        return self._connect(obj, _Listing(name, None, warns=False))

    def _connect(self, obj: Any, listing: _Listing, wanted: str | None = None) -> PyroURI:
        if isinstance(obj, type):
            raise DaemonError(f"{obj.__name__} is a class; connect an instance of it, or use connect_class")
        if isinstance(obj, ObjBase) and "objectGUID" not in obj.__dict__:
            raise DaemonError(f"{type(obj).__name__}.__init__ did not call ObjBase.__init__")
        if isinstance(obj, ObjBase):
            if wanted is not None and obj.GUID() not in self._dispatcher.entries:
                obj.setGUID(wanted)
            wanted = obj.GUID()
        uri = self._enter(obj, listing, wanted, lambda guid: self._dispatcher.add(guid, listing.name, obj))
        if isinstance(obj, ObjBase):
            obj.setPyroDaemon(cast("Daemon", self))
        return uri

    def connect_class(
        self,
        cls: type,
        name: str | None = None,
        *,
        instances: Literal["single", "session", "call"] = "session",
        creator: Callable[[], Any] | None = None,
    ) -> PyroURI:
        """Make a class reachable, of which instances are made when calls need them.

        Args:
            cls: the class.
            name: what to find it by.
            instances: ``session`` makes one for each proxy, which is dropped when its session ends; ``call`` one for
                each call; ``single`` one for all, at the first call.
            creator: makes an instance, in the greenlet of the call that needs it, and may block; without, the class
                is called without arguments. If it raises, that call gets the exception, and the next one tries again.

        Returns:
            The URI for proxies.

        Raises:
            DaemonError: the name is taken by another object here or no str, it is no class, or the daemon is closed.
            ValueError: `instances` is none of the three.
        """
        if not isinstance(cls, type):
            raise DaemonError(f"{cls!r} is no class; use connect")
        if instances not in MODES:
            raise ValueError(f"instances is one of {', '.join(MODES)}, not {instances!r}")
        add = self._dispatcher.add_class
        listing = _Listing(name, self._registry)
        return self._enter(cls, listing, None, lambda guid: add(guid, name, cls, instances, creator or cls, self))

    def _enter(self, obj: Any, listing: _Listing, wanted: str | None, add: Callable[[str], None]) -> PyroURI:
        """Take up an object, with the id that is `wanted`, unless it has been already."""
        name, registry = listing.name, listing.registry
        if name is not None and not isinstance(name, str):
            raise DaemonError(f"the name of an object is a str: {name!r}")
        if name is None or registry is None:
            with self._changing:
                guid = self._free_id(obj, name, wanted)
                self._take_up(obj, guid, name, add)
            self._leave_before(guid)
        else:
            # Without holding the lock, since the name server may take its time.
            with self._changing:
                guid = self._free_id(obj, name, wanted)
            uri = str(self._uri(guid))
            full = registry.enter(name, uri, listing.lasting, listing.replacing)
            try:
                with self._changing:
                    if self._free_id(obj, name, guid) != guid:
                        raise DaemonError(f"{obj!r} was connected by somebody else meanwhile")
                    self._take_up(obj, guid, name, add)
            except BaseException:
                registry.give_back(full, uri)
                raise
            if self._registered.get(guid) != (registry, full):
                self._leave_before(guid)
            self._registered[guid] = registry, full
            if self._state is not None:
                registry.run(self._state)
        if name is not None and registry is None and listing.warns:
            # For who traces warnings, as Pyro 3 did. Beside PYROLOC URIs a name server is not needed, so it is none of
            # the warnings that everybody is shown.
            kind = obj.__name__ if isinstance(obj, type) else type(obj).__name__
            Log.warn("gpyro", f"{kind!r} is connected as {name!r}, but no name server is in use")
        return self._uri(guid)

    def _free_id(self, obj: Any, name: str | None, wanted: str | None) -> str:
        """The id that an object has or gets. Raises DaemonError if that, or the name, is another's."""
        if self._closed:
            raise DaemonError("the daemon is closed")
        guid = self._ids.get(id(obj)) or (getGUID() if wanted is None else wanted)
        self._uri(guid)
        entry = self._dispatcher.entries.get(guid)
        if entry is not None and entry.obj is not obj:
            raise DaemonError(f"the object id {guid} is taken by another object of this daemon")
        for other in self._dispatcher.entries.values():
            if other.name == name is not None and other is not entry:
                raise DaemonError(f"the name {name!r} is taken by another object of this daemon")
        return guid

    def _take_up(self, obj: Any, guid: str, name: str | None, add: Callable[[str], None]) -> None:
        entry = self._dispatcher.entries.get(guid)
        if entry is not None:
            entry.name = name
        else:
            self._ids[id(obj)] = guid
            add(guid)

    def _leave_before(self, guid: str) -> None:
        """Give back the name that an object had at a name server until now."""
        before = self._registered.pop(guid, None)
        if before is not None:
            before[0].give_back(before[1], str(self._uri(guid)))

    def _add(self, guid: str, name: str | None, obj: Any) -> None:
        self._ids[id(obj)] = guid
        self._dispatcher.add(guid, name, obj)

    def disconnect(self, obj: Any) -> None:
        """Make an object unreachable, and withdraw its name; calls of it that run go on.

        Args:
            obj: the object or its id.

        Raises:
            KeyError: it is not connected.
            ProtocolError: its name cannot be withdrawn, since the name server cannot be asked; it stays connected.
            StoreError: nor can it if the name server's store fails.
        """
        guid = obj if isinstance(obj, str) else self._ids.get(id(obj), "")
        if guid == INTERNAL_DAEMON_GUID:
            return
        if guid not in self._dispatcher.entries:
            raise KeyError(f"{obj!r} is not connected to this daemon")
        registered = self._registered.get(guid)
        if registered is not None:
            registry, name = registered
            registry.leave(name, str(self._uri(guid)))
            self._registered.pop(guid, None)
        self._forget(guid)

    def _forget(self, guid: str) -> None:
        """Make an object unreachable, whatever a name server says of it. Raises KeyError if it is not connected."""
        with self._changing:
            entry = self._dispatcher.entries.pop(guid, None)
            if entry is None:
                raise KeyError(f"{guid!r} is not connected to this daemon")
            self._ids.pop(id(entry.obj), None)
        if isinstance(entry.obj, ObjBase):
            entry.obj.setPyroDaemon(None)

    @property
    def connections(self) -> list[Channel]:
        """The open connections."""
        return list(self._listener.channels)

    def getRegistered(self) -> dict[str, str | None]:
        """Object id -> name of all connected objects, this daemon's own servant included; None for transient ones."""
        return {guid: entry.name for guid, entry in self._dispatcher.entries.copy().items()}

    @property
    def implementations(self) -> dict[str, tuple[Any, str | None]]:
        """Object id -> object and name."""
        return {guid: (entry.obj, entry.name) for guid, entry in self._dispatcher.entries.copy().items()}

    def getLocalObject(self, guid: str) -> Any:
        """The connected object with this id. Raises KeyError if there is none."""
        return self._dispatcher.entries[guid].obj

    def getLocalObjectForProxy(self, proxy: DynamicProxy) -> Any:
        """The connected object that `proxy` stands for. Raises KeyError if there is none."""
        return self.getLocalObject(proxy.objectID)

    def getProxyForObj(self, obj: Any) -> DynamicProxy:
        """A new proxy for a connected object. Raises KeyError if it is not connected."""
        return DynamicProxy(self._uri(self._id_of(obj)))

    def getAttrProxyForObj(self, obj: Any) -> DynamicProxyWithAttrs:
        """A new proxy with attribute access for a connected object. Raises KeyError if it is not connected."""
        return DynamicProxyWithAttrs(self._uri(self._id_of(obj)))

    def _id_of(self, obj: Any) -> str:
        try:
            # An instance of a connected class has the id of the class.
            return self._ids.get(id(obj)) or self._ids[id(type(obj))]
        except KeyError:
            raise KeyError(f"{obj!r} is not connected to this daemon") from None

    def _uri(self, guid: str) -> PyroURI:
        return PyroURI(self.hostname, guid, self.port, self.protocol)

    def validateHostnameAndIP(self) -> str | None:
        """Look up what URIs say as host.

        Returns:
            None if that is an address of the network; a warning, which is in the system log, too, if it leads each
            machine to itself.

        Raises:
            OSError: there is no such host.
        """
        if is_unix(self.hostname):
            where = "is a Unix socket"
        else:
            found = [str(entry[4][0]) for entry in getaddrinfo(self.hostname, self.port, type=SOCK_STREAM)]
            looped = [address for address in found if ip_address(address.partition("%")[0]).is_loopback]
            if not looped:
                return None
            where = f"is the loopback address {looped[0]}" if self.hostname != looped[0] else "is a loopback address"
        warning = f"URIs of this daemon are of no use on other machines: {self.hostname} {where}"
        Log.warn("gpyro", warning)
        return warning

    def ResolvePYROLOC(self, name: str) -> str:
        """The id of the object that was connected under this name. Raises NamingError if there is none."""
        return DaemonServant(self._dispatcher).ResolvePYROLOC(name)

    def getLocalStorage(self) -> LocalStorage:
        """The storage of the current call's session, or the one of all calls where calls do not overlap."""
        return self._dispatcher.shared_storage or getLocalStorage()

    def setInitTLS(self, func: Callable[[LocalStorage], object]) -> None:
        """Have ``func(storage)`` prepare the storage of each new session, before its first call.

        Where calls do not overlap there is one storage, which is prepared at once.

        Raises:
            TypeError: it is not callable.
        """
        if not callable(func):
            raise TypeError("initTLS must be callable object")
        self._dispatcher.set_init_tls(func)

    # Transient objects

    def setTransientsCleanupAge(self, secs: float) -> None:
        """Disconnect objects without name that were not called for `secs` seconds.

        And call their ``_gotReaped``; 0 never does.
        """
        self._reaper.set_age(secs)
        if self._state is not None:
            self._reaper.start(self._state)

    def reapUnusedTransients(self) -> None:
        """Disconnect the objects without name that were not called for the set time, and of which no call runs."""
        self._reaper.reap()
