"""What a daemon knows of each of its objects."""

from __future__ import annotations

import time
from typing import Any

from gpyro.exposure import Members
from gpyro.objects import HIDDEN, ObjBase, SynchronizedObjBase
from gpyro.synchronize import CallLock


class ObjectEntry:
    """A connected object.

    Attributes:
        guid: its id.
        name: the name it was connected under; None for a transient object.
        obj: the object.
        last_used: when it was connected, or last called if it is no `ObjBase`, as `time.time`; see `used`.
        lock: keeps calls of a synchronized object apart.
        dyncall: its class overrides `ObjBase.Pyro_dyncall`.
        simple: a call of it is just a call: no lock, no gate, no override.
        target_class, methods: the class that calls last went to, and what can be reached of it.
    """

    __slots__ = (
        "_members",
        "dyncall",
        "guid",
        "is_base",
        "last_used",
        "lock",
        "methods",
        "name",
        "obj",
        "simple",
        "target_class",
    )

    def __init__(self, guid: str, name: str | None, obj: Any, overlapping: bool) -> None:
        self.guid = guid
        self.name = name
        self.obj = obj
        self.last_used = time.time()
        self.is_base = isinstance(obj, ObjBase)
        self.lock: CallLock | None = obj._pyro_lock if isinstance(obj, SynchronizedObjBase) else None
        self.dyncall = isinstance(obj, ObjBase) and type(obj).Pyro_dyncall is not ObjBase.Pyro_dyncall
        self.simple = overlapping and self.lock is None and not self.dyncall
        self.target_class: type | None = None
        self.methods: dict[str, bool] = {}
        self._members: Members | None = None

    def target(self) -> Any:
        """The object that calls go to: the delegate, if there is one."""
        if self.is_base and self.obj.delegate is not None:
            return self.obj.delegate
        return self.obj

    def members(self, target: Any) -> Members:
        """What can be reached of `target`; `methods` and `target_class` remember it for the next call."""
        cls = type(target)
        if cls is not self.target_class or self._members is None:
            self._members = Members(cls, HIDDEN if isinstance(target, ObjBase) else frozenset())
            self.methods = self._members.methods
            self.target_class = cls
        return self._members

    @property
    def class_name(self) -> str:
        """The class of what calls go to, for messages."""
        return type(self.target()).__name__

    def touch(self) -> None:
        """Remember that it was called now."""
        if self.is_base:
            self.obj.lastUsed = time.time()
        else:
            self.last_used = time.time()

    @property
    def used(self) -> float:
        """When the object was connected or last called, as `time.time`."""
        return max(self.last_used, self.obj.lastUsed) if self.is_base else self.last_used
