"""Disconnecting the objects that nobody calls any more."""

from __future__ import annotations

import contextlib
import time
import weakref
from typing import TYPE_CHECKING

from gpyro.dispatch import Dispatcher
from gpyro.logs import log
from gpyro.net.hub import HubState
from gpyro.objects import ObjBase

if TYPE_CHECKING:
    from gpyro.hosting import ObjectHost

LOOKS = 5
"""How often within the age the objects are looked at."""


class Reaper:
    """Disconnects a daemon's objects without name when they were not called for a while."""

    def __init__(self, daemon: ObjectHost, dispatcher: Dispatcher) -> None:
        self._daemon = weakref.ref(daemon)
        self._dispatcher = dispatcher
        self._age = 0.0
        self._change = 0

    def set_age(self, seconds: float) -> None:
        """From now on reap what was not called for so long; 0 for never."""
        self._age = seconds
        self._change += 1

    def start(self, state: HubState) -> None:
        """Look every now and then, on the hub of the daemon. From any thread."""
        if not self._age:
            return
        interval, change = self._age / LOOKS, self._change

        def look() -> None:
            daemon = self._daemon()
            if daemon is not None and self._change == change:
                state.start(lambda first, second: daemon.reapUnusedTransients())
                state.run_after(interval, look)

        state.call_soon(lambda: state.run_after(interval, look))

    def reap(self) -> None:
        """Disconnect what was not called for the age, and of which no call runs, and tell it so."""
        daemon = self._daemon()
        if daemon is None or not self._age:
            return
        oldest = time.time() - self._age
        for guid, entry in self._dispatcher.entries.copy().items():
            if entry.name is None and entry.used < oldest and not self._is_called(daemon, guid):
                with contextlib.suppress(KeyError):  # disconnected by another one's _gotReaped
                    daemon.disconnect(guid)
                if isinstance(entry.obj, ObjBase):
                    try:
                        entry.obj._gotReaped()
                    except Exception:
                        log.exception("_gotReaped of %s failed", type(entry.obj).__name__)

    def _is_called(self, daemon: ObjectHost, guid: str) -> bool:
        calls = [call for channel in daemon.connections for call in list(channel.serving.values())]
        return any(call.session.object_id == guid for call in (*calls, *self._dispatcher.unheard))
