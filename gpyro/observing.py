"""Observers: they see every call, at both ends, with its outcome and its duration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Literal

from gpyro.errors import ProtocolError, TimeoutError
from gpyro.tls import Call, CallCancelled
from gpyro.wire.frames import Kind

logger = logging.getLogger("gpyro")

Outcome = Literal["ok", "error", "refused", "late", "cancelled", "lost"]


class CallInfo:
    """One call, as observers see it.

    Attributes:
        side: ``client`` where it is made, ``server`` where it is carried out.
        target: what it is made on: the URI at the client, the class's name at the server.
        method: the method's name, or ``(batch)``, ``(get)``, ``(set)`` or ``(describe)``; '' if it could not be read.
        outcome: ``ok``; ``error``: the method raised; ``refused``: it was not begun; ``late``: its deadline passed;
            ``cancelled``: its caller left; ``lost``: the connection was, and nobody knows. None while it runs.
        error: what was raised.
        duration: seconds that it took, None while it runs.
        data: for observers to keep what they like.
    """

    def __init__(self, side: Literal["client", "server"], target: str, method: str) -> None:
        self.side = side
        self.target = target
        self.method = method
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.duration: float | None = None
        self.data: dict[Any, Any] = {}
        self._began = monotonic()
        self._told: list[Observer] = []

    def begin(self, target: str = "", method: str = "") -> None:
        """Tell the observers that it begins."""
        self.target, self.method = target or self.target, method or self.method
        for observer in list(observers):
            self._told.append(observer)
            _tell(observer.call_began, self)

    def end(self) -> None:
        """Tell them that it ended."""
        self.duration = monotonic() - self._began
        self.outcome = _outcome_of(self.error)
        told = self._told or list(observers)  # of a call that was refused they hear only this
        for observer in reversed(told):
            _tell(observer.call_ended, self)
        self.error = None  # it would hold the frames that it went through

    def __repr__(self) -> str:
        return f"<CallInfo {self.side} {self.target} {self.method} {self.outcome} {self.duration}>"


class ServedCall(CallInfo):
    """A call at the server's side."""

    def __init__(self, call: Call) -> None:
        super().__init__("server", call.session.object_id, "")


class Observer:
    """Sees calls. To be derived from; both methods run in the greenlet of the call, and should be quick.

    What they raise is logged, and is nothing to the call.
    """

    def call_began(self, call: CallInfo) -> None:
        """A call is about to be made, or its method about to be called."""

    def call_ended(self, call: CallInfo) -> None:
        """It ended."""


observers: list[Observer] = []
"""Who is told. Empty, it costs nothing."""


def observe(observer: Observer) -> Callable[[], None]:
    """Have an observer see every call of this process from now on, those it makes and those it serves.

    Returns:
        What ends it.

    Raises:
        TypeError: it is no `Observer`.
    """
    if not isinstance(observer, Observer):
        raise TypeError(f"an observer is derived from gpyro.Observer: {observer!r}")
    observers.append(observer)

    def end() -> None:
        observers[:] = [other for other in observers if other is not observer]

    return end


def label_of(kind: int) -> str:
    """What stands for the method's name where something else than a method is called."""
    return f"({Kind(kind).name.lower()})"


def _tell(function: Callable[[CallInfo], object], call: CallInfo) -> None:
    try:
        function(call)
    except Exception:
        logger.exception("an observer of calls failed")


def _outcome_of(error: BaseException | None) -> Outcome:
    if error is None:
        return "ok"
    if isinstance(error, TimeoutError):
        return "late"
    if isinstance(error, ProtocolError):
        return "lost" if error.may_have_run else "refused"
    if isinstance(error, CallCancelled):
        return "cancelled"
    return "error" if isinstance(error, Exception) else "cancelled"
