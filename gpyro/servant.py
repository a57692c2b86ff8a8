"""The object that a daemon is for its clients."""

from __future__ import annotations

import weakref

from gpyro.dispatch import Dispatcher
from gpyro.errors import NamingError
from gpyro.exposure import expose


@expose("getRegistered", "ResolvePYROLOC")
class DaemonServant:
    """The small object that represents a daemon to clients."""

    _pyro_answers = (NamingError,)

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._entries = weakref.proxy(dispatcher)

    def getRegistered(self) -> dict[str, str | None]:
        """Object id -> name of everything that is connected."""
        return {guid: entry.name for guid, entry in self._entries.entries.copy().items()}

    def ResolvePYROLOC(self, name: str) -> str:
        """The id of the object that was connected under exactly this name.

        Raises:
            NamingError: there is none.
        """
        for guid, entry in self._entries.entries.copy().items():
            if entry.name == name:
                return str(guid)
        raise NamingError("no object found by this name", name)
