"""Connected classes: their instances are made when calls need them, one for all, one per session, or one per call."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gevent.lock import Semaphore

from gpyro.entries import ObjectEntry
from gpyro.objects import ObjBase
from gpyro.tls import Call, Session

if TYPE_CHECKING:
    from gpyro.hub_daemon import Daemon

MODES: Final = ("single", "session", "call")


class ClassEntry(ObjectEntry):
    """A connected class.

    Attributes:
        mode: one of `MODES`.
    """

    __slots__ = ("_creator", "_daemon", "_making", "_of_sessions", "_overlapping", "_single", "mode")

    def __init__(
        self,
        guid: str,
        name: str | None,
        cls: type,
        overlapping: bool,
        mode: str,
        creator: Callable[[], Any],
        daemon: Daemon,
    ) -> None:
        super().__init__(guid, name, cls, overlapping)
        self.simple = False
        self.mode = mode
        self._creator = creator
        self._daemon = weakref.ref(daemon)
        self._overlapping = overlapping
        self._making = Semaphore()
        self._single: ObjectEntry | None = None
        self._of_sessions: weakref.WeakKeyDictionary[Session, ObjectEntry] = weakref.WeakKeyDictionary()

    @property
    def class_name(self) -> str:
        """See `ObjectEntry`."""
        return str(self.obj.__name__)

    def entry_for(self, call: Call) -> ObjectEntry:
        """The instance that this call goes to, made if need be. In the call's worker, since making may block.

        Raises whatever the creator raises; the next call tries again.
        """
        self.touch()
        if self.mode == "call":
            return self._make()
        found = self._find(call.session)
        if found is None:
            with self._making:  # calls that come together share what the first of them makes
                found = self._find(call.session)
                if found is None:
                    found = self._make()
                    if self.mode == "single":
                        self._single = found
                    elif not call.session.ended:
                        self._of_sessions[call.session] = found
        return found

    def _find(self, session: Session) -> ObjectEntry | None:
        return self._single if self.mode == "single" else self._of_sessions.get(session)

    def _make(self) -> ObjectEntry:
        obj = self._creator()
        if isinstance(obj, ObjBase):
            obj.setPyroDaemon(self._daemon())
            obj.__dict__["objectGUID"] = self.guid  # its proxies are those of the class
        return ObjectEntry(self.guid, self.name, obj, self._overlapping)
