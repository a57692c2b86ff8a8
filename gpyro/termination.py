"""SIGTERM and Ctrl-C end the loops of daemons: while they run, and if the program left the signals alone.

SIGTERM drains them. Ctrl-C is a KeyboardInterrupt, as everywhere; but where it would strike gevent's hub, which could
only print it and throw it somewhere, the loops are told to raise it themselves.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from gevent import get_hub
from greenlet import getcurrent

from gpyro.locks import Event
from gpyro.net.hub import hub_state


class _Loop(NamedTuple):
    terminate: Callable[[], object] | None
    interrupt: Callable[[], bool]


_loops: list[_Loop] = []
"""What ends the loops that run in the main thread."""

_process = 0
"""Where the handlers were installed: a child that was forked meanwhile is to die of the signals."""


@contextmanager
def answered_by(terminate: Callable[[], object] | None, interrupt: Callable[[], bool]) -> Iterator[None]:
    """Have SIGTERM call `terminate`, if given, and Ctrl-C that strikes the hub `interrupt`, within the block.

    Only in the main thread can a program answer signals; in others nothing is done. `interrupt` tells whether it could
    see to it.
    """
    global _process
    if not get_hub().main_hub:
        yield
        return
    if _process != os.getpid():
        _process = os.getpid()
        _loops.clear()
    loop = _Loop(terminate, interrupt)
    _loops.append(loop)
    for number, (ordinary, ours) in _HANDLERS.items():
        if _is_answered(number) and signal.getsignal(number) == ordinary:
            signal.signal(number, ours)
    try:
        yield
    finally:
        _loops[:] = [other for other in _loops if other is not loop]
        for number, (ordinary, ours) in _HANDLERS.items():
            # Unless the program took the signal over meanwhile.
            if not _is_answered(number) and signal.getsignal(number) is ours:
                signal.signal(number, ordinary)


def wait_for(flag: Event) -> None:
    """Wait until a flag is set, as the main greenlet's loop: Ctrl-C is a KeyboardInterrupt there, and nothing else."""
    state, told = hub_state(), False

    def interrupt() -> bool:
        nonlocal told
        if told:
            return False
        told = True
        state.call_soon(lambda: state.interrupt(KeyboardInterrupt()))
        return True

    if getcurrent().parent is not None:  # somewhere else in the program the main greenlet does what it likes
        flag.wait()
        return
    with answered_by(None, interrupt):
        flag.wait()


def _is_answered(number: int) -> bool:
    return any(number == signal.SIGINT or loop.terminate is not None for loop in _loops)


def _on_sigterm(number: int, frame: Any) -> None:
    if os.getpid() != _process:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    for loop in list(_loops):
        if loop.terminate is not None:
            loop.terminate()


def _on_sigint(number: int, frame: Any) -> None:
    if os.getpid() != _process or getcurrent() is not get_hub():
        raise KeyboardInterrupt
    answers = {loop.interrupt() for loop in _loops}  # all of them are asked
    if True not in answers:
        raise KeyboardInterrupt


_HANDLERS: dict[int, tuple[Any, Callable[[int, Any], None]]] = {
    signal.SIGTERM: (signal.SIG_DFL, _on_sigterm),
    signal.SIGINT: (signal.default_int_handler, _on_sigint),
}
