"""What a call hands on to the calls made in its course: how much time is left, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from time import monotonic
from typing import Any

from greenlet import getcurrent

from gpyro.tls import CURRENT_CALL, CallCancelled, current_call
from gpyro.wire import metadata

DEADLINE = "gpyro.deadline"
"""Key of a deadline (monotonic seconds) in a greenlet's spawn-tree locals."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Within the block, give all remote calls of this greenlet, and of those it spawns there, `seconds` altogether.

    A call whose time is over raises `gpyro.errors.TimeoutError`; nothing else in the block is touched. It can only
    shorten what is left already. What is left travels with each call: the server does not start a call that is late,
    stops one that becomes late, and the calls made in its course have no more time than it has itself.

    Raises:
        ValueError: it is not a positive number.
    """
    if not seconds > 0:
        raise ValueError(f"a deadline is a positive number of seconds: {seconds!r}")
    greenlet: Any = getcurrent()
    before = getattr(greenlet, "spawn_tree_locals", None)
    until = monotonic() + seconds
    outer = before.get(DEADLINE) if before else None
    # A copy, since greenlets that were spawned together share the dict.
    greenlet.spawn_tree_locals = {**(before or {}), DEADLINE: until if outer is None else min(until, outer)}
    try:
        yield
    finally:
        if before is None:
            del greenlet.spawn_tree_locals
        else:
            greenlet.spawn_tree_locals = before


def time_left() -> float | None:
    """Seconds until the deadline of what this greenlet does; 0.0 when it passed, None if there is none."""
    tree_locals = getattr(getcurrent(), "spawn_tree_locals", None)
    until = _deadline_in(tree_locals) if tree_locals else None
    return None if until is None else max(0.0, until - monotonic())


@contextmanager
def shield() -> Iterator[None]:
    """Keep the current call from being stopped within the block, because its caller left or its time is over.

    It is stopped at the end of the block then. Counts for the greenlet that the call runs in; those that it spawns are
    never stopped.
    """
    call = current_call()
    if call is None or call.worker is not getcurrent():
        yield
        return
    call.shields += 1
    try:
        yield
    finally:
        call.shields -= 1
    if call.cancelled and not call.shields:
        raise CallCancelled


def _deadline_in(tree_locals: dict[str, Any]) -> float | None:
    until: float | None = tree_locals.get(DEADLINE)
    call = tree_locals.get(CURRENT_CALL)
    if call is not None and call.deadline is not None and (until is None or call.deadline < until):
        until = call.deadline
    return until


def handed_on(tree_locals: dict[str, Any] | None, timeout: float | None) -> tuple[float | None, dict[str, Any]]:
    """The deadline (monotonic seconds) of a call made here, and the metadata that go with it, without the deadline.

    Args:
        tree_locals: of the greenlet that calls.
        timeout: seconds that the proxy gives each call.
    """
    until = None if timeout is None else monotonic() + timeout
    fields: dict[str, Any] = {}
    if tree_locals:
        inherited = _deadline_in(tree_locals)
        if inherited is not None and (until is None or inherited < until):
            until = inherited
        call = tree_locals.get(CURRENT_CALL)
        if call is not None and call.chain:
            fields[metadata.CHAIN] = list(call.chain)
    return until, fields


def with_deadline(fields: dict[str, Any], until: float | None) -> dict[str, Any]:
    """The metadata as they travel now: with what is left, in milliseconds and rather too much than too little."""
    if until is not None:
        fields[metadata.DEADLINE] = max(0, ceil((until - monotonic()) * 1000))
    return fields
