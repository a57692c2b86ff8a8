"""Ending a tool by a signal without a traceback from amid whatever greenlet is on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent


@contextmanager
def signals_call(stop: Callable[[], object], *numbers: int) -> Iterator[list[int]]:
    """Answer these signals by one call of `stop`; a second Ctrl-C interrupts as usual. Gives the signals that came."""
    came: list[int] = []
    loop = gevent.get_hub().loop

    def answer(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # A Python signal handler runs amid whatever greenlet is on; only this call is safe there.
        loop.run_callback_threadsafe(stop)

    before = {number: signal.signal(number, answer) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
