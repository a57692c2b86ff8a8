"""SIGTERM ends the loops of daemons by draining them: while they run, and if the program left the signal alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_shutdowns: list[Callable[[], object]] = []
"""What ends the loops that run in the main thread."""

_process = 0
"""Where the handler was installed: a child that was forked meanwhile is to die of the signal."""


@contextmanager
def answered_by(shutdown: Callable[[], object], in_main_thread: bool) -> Iterator[None]:
    """Have SIGTERM call `shutdown` within the block; only in the main thread can a program answer signals."""
    global _process
    if not in_main_thread or signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, _on_sigterm):
        yield
        return
    if _process != os.getpid():
        _process = os.getpid()
        _shutdowns.clear()
    _shutdowns.append(shutdown)
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        yield
    finally:
        if shutdown in _shutdowns:
            _shutdowns.remove(shutdown)
        # Unless the program took the signal over meanwhile.
        if not _shutdowns and signal.getsignal(signal.SIGTERM) is _on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _on_sigterm(number: int, frame: Any) -> None:
    if os.getpid() != _process:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    for shutdown in list(_shutdowns):
        shutdown()
