"""Who keeps the loop from turning: gevent's monitor thread looks, and the log names the method."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final

from gevent._monitor import PeriodicMonitoringThread, _MonitorEntry

from gpyro.logs import LibraryLog
from gpyro.net.hub import HubState
from gpyro.net.workers import Worker

logger = LibraryLog("gpyro.net")

CALLS_METHODS: Final = "gpyro.dispatch"
"""The module whose functions call methods."""

MAX_FRAMES: Final = 200


class BlockingWatch(PeriodicMonitoringThread):
    """gevent's monitor of one hub, which says in gpyro's words, and log, who blocks it."""

    def __init__(self, state: HubState, seconds: float) -> None:
        """Say so when one greenlet keeps the hub of this thread for `seconds`."""
        self._state = state
        self._seconds = seconds
        self._named: Any = None
        super().__init__(state.hub)
        self._monitoring_functions = [_MonitorEntry(self.monitor_blocking, seconds)]
        self._calculated_sleep_time = seconds / 2

    def monitoring_functions(self) -> list[_MonitorEntry]:
        """Only this one; gevent's own would ask its own configuration for the time."""
        entries: list[_MonitorEntry] = self._monitoring_functions
        return entries

    def monitor_blocking(self, hub: Any) -> Any:
        """In the monitor's thread: look whether the same greenlet has been on since the last time."""
        blocked = self._greenlet_tracer.did_block_hub(hub)  # type: ignore[attr-defined]
        greenlet = blocked[1] if blocked else None
        if greenlet is None or greenlet is self._named:
            self._named = greenlet
            return None
        # A foreign loop stops this one for as long as it likes; that is no blocking.
        if self._state.foreign and not isinstance(greenlet, Worker):
            return None
        frame = sys._current_frames().get(hub.thread_ident)
        if frame is not None:
            self._named = greenlet
            logger.warning("%s", describe(frame, self._seconds))
        return greenlet


def describe(frame: FrameType, seconds: float) -> str:
    """A sentence on what a thread is at, of which `frame` is the innermost frame."""
    stack: list[FrameType] = []
    at: FrameType | None = frame
    while at is not None and len(stack) < MAX_FRAMES:
        stack.append(at)
        at = at.f_back
    text = f"the loop has been blocked for {seconds:g} s or more by "
    for number, outer in enumerate(stack):
        if number and outer.f_globals.get("__name__") == CALLS_METHODS:
            method = stack[number - 1]
            text += f"the method {method.f_code.co_qualname}, {_place(method)}"
            return text if method is frame else f"{text}, now in {frame.f_code.co_qualname}, {_place(frame)}"
    return f"{text}{frame.f_code.co_qualname}, {_place(frame)}"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def watch_for_blocking(state: HubState, seconds: float) -> None:
    """Have whoever blocks this thread's hub for `seconds` named in the log; 0 for not. A hub has one such watch."""
    if seconds and state.hub.periodic_monitoring_thread is None:
        state.hub.periodic_monitoring_thread = BlockingWatch(state, seconds)
