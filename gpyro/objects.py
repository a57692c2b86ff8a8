"""The base classes that make objects remotely callable."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from gpyro.constants import RIF_Keywords, RIF_Varargs
from gpyro.guid import getGUID
from gpyro.synchronize import CallLock
from gpyro.tls import LocalStorage, getLocalStorage

if TYPE_CHECKING:
    from gpyro.hub_daemon import Daemon
    from gpyro.proxy import DynamicProxy, DynamicProxyWithAttrs


class ObjBase:
    """What makes an object remotely callable.

    Use it in one of three ways: derive a new class from it and from your own class, calling both ``__init__``; make a
        plain ``ObjBase()`` and `delegateTo` your object; or derive your class from it directly. ``ObjBase.__init__``
        must have run.

    Reachable for clients are the public methods of the class tree (or of the delegate's), without those of this
    class; see `gpyro.expose`. The constructor is never called remotely.

    Attributes:
        objectGUID: the object's id.
        delegate: where calls go, or None.
        lastUsed: when it was made or last called, as `time.time`.
    """

    def __init__(self) -> None:
        self.objectGUID = getGUID()
        self.delegate: Any = None
        self.lastUsed = time.time()

    def GUID(self) -> str:
        """The object's id."""
        return self.objectGUID

    def setGUID(self, guid: str) -> None:
        """Give the object another id. To be done before it is connected."""
        self.objectGUID = guid

    def delegateTo(self, delegate: object) -> None:
        """Let remote calls and attribute access go to `delegate`."""
        self.delegate = delegate

    def setPyroDaemon(self, daemon: Daemon | None) -> None:
        """Called by the daemon when the object is connected, and with None when it is disconnected."""
        if daemon is None:
            self.__dict__.pop("_pyro_daemon", None)
        else:
            self.__dict__["_pyro_daemon"] = weakref.proxy(daemon)

    def getDaemon(self) -> Daemon:
        """The daemon that the object is connected to, as a weak proxy.

        Raises:
            AttributeError: it is not connected.
        """
        try:
            daemon: Daemon = self.__dict__["_pyro_daemon"]
        except KeyError:
            raise AttributeError("the object is not connected to a daemon: call daemon.connect(obj) first") from None
        return daemon

    def getLocalStorage(self) -> LocalStorage:
        """The storage of the session that the current call belongs to; see `gpyro.tls.getLocalStorage`."""
        return getLocalStorage()

    def getProxy(self) -> DynamicProxy:
        """A new proxy for this object: what a remote method returns instead of the object. It must be connected."""
        return self.getDaemon().getProxyForObj(self)

    def getAttrProxy(self) -> DynamicProxyWithAttrs:
        """As `getProxy`, with attribute access."""
        return self.getDaemon().getAttrProxyForObj(self)

    def _gotReaped(self) -> None:
        """Called after the daemon removed this object because nobody had called it for long. To be overridden."""

    def Pyro_dyncall(self, method: str, flags: int, args: Any) -> Any:
        """Every remote call passes through here when a class overrides it.

        Args:
            method: name of the method, which is reachable.
            flags: `RIF_Varargs` and `RIF_Keywords` of `gpyro.constants`, saying what `args` holds.
            args: positional arguments, with keywords a pair of those and a dictionary.
        """
        keywords: dict[str, Any] = {}
        if flags & RIF_Keywords:
            args, keywords = args
        if not flags & (RIF_Varargs | RIF_Keywords):
            args = tuple(args)
        self.lastUsed = time.time()
        target = self if self.delegate is None else self.delegate
        return getattr(target, method)(*args, **keywords)


class SynchronizedObjBase(ObjBase):
    """As `ObjBase`, and its remote calls never overlap: waiting ones go in order.

    A call chain that comes back to the object while one of its own calls is in it gets a
    `gpyro.errors.SynchronizationError`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pyro_lock = CallLock()


class CallbackObjBase(ObjBase):
    """As `ObjBase`, for objects that a client serves to be called back.

    An exception in a method goes to the caller, and is also logged as a warning and handed to ``hub.handle_error``
    where the object lives, since that is where somebody can mend it.
    """


_BASES = (ObjBase, SynchronizedObjBase, CallbackObjBase)

HIDDEN: frozenset[str] = frozenset(name for base in _BASES for name in dir(base)) | {
    "objectGUID",
    "delegate",
    "lastUsed",
}
"""Names that are the base classes' own business, and never reachable."""
