"""What a call hands on to the calls made in its course: how much time is left, and who waits for whom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from time import monotonic
from typing import Any

from greenlet import getcurrent

from gpyro.guid import getGUID
from gpyro.tls import CURRENT_CALL, Call, CallCancelled, current_call
from gpyro.wire import metadata

DEADLINE = "gpyro.deadline"
"""Key of a deadline (monotonic seconds) in a greenlet's spawn-tree locals."""

OUTGOING = "gpyro.outgoing"
"""Key of what the calls of a block take along, in a greenlet's spawn-tree locals."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_MAX_ID = 128


@contextmanager
def _with_locals(changes: dict[str, Any]) -> Iterator[None]:
    """Within the block, this greenlet and those it spawns have these spawn-tree locals, too."""
    greenlet: Any = getcurrent()
    before = getattr(greenlet, "spawn_tree_locals", None)
    # A copy, since greenlets that were spawned together share the dict.
    greenlet.spawn_tree_locals = {**(before or {}), **changes}
    try:
        yield
    finally:
        if before is None:
            del greenlet.spawn_tree_locals
        else:
            greenlet.spawn_tree_locals = before


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
    until = monotonic() + seconds
    outer = (getattr(getcurrent(), "spawn_tree_locals", None) or {}).get(DEADLINE)
    with _with_locals({DEADLINE: until if outer is None else min(until, outer)}):
        yield


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
        if call is not None:
            if call.chain:
                fields[metadata.CHAIN] = list(call.chain)
            if call.fields:
                fields.update((key, call.fields[key]) for key in metadata.INHERITED if key in call.fields)
        outgoing = tree_locals.get(OUTGOING)
        if outgoing is not None:
            fields.update(outgoing.fields)
    return until, fields


def with_deadline(fields: dict[str, Any], until: float | None) -> dict[str, Any]:
    """The metadata as they travel now: with what is left, in milliseconds and rather too much than too little."""
    if until is not None:
        fields[metadata.DEADLINE] = max(0, ceil((until - monotonic()) * 1000))
    return fields


# ---- what calls take along


class Outgoing:
    """What the calls of a block take along, and what their answers bring.

    Attributes:
        fields: the metadata.
        received: the annotations of the answers, the latest of each name.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.received: dict[str, Any] = {}


@contextmanager
def call_context(
    *, annotations: Mapping[str, Any] | None = None, correlation_id: str | None = None, traceparent: str | None = None
) -> Iterator[dict[str, Any]]:
    """Within the block, let the remote calls of this greenlet, and of those it spawns there, take something along.

    The method finds it in its `current_context`. The correlation id and the trace go on along the chain of calls by
    themselves; annotations go one call far. Blocks within blocks add to each other.

    Args:
        annotations: by name, texts, bytes, numbers, and lists and dicts of them; all in all at most 16 KiB travel.
        correlation_id: 1 to 128 printable characters.
        traceparent: as in the W3C's Trace Context.

    Yields:
        A dict that is filled with the annotations that the answers of the block bring.

    Raises:
        TypeError, ValueError: one of them is not what it has to be.
    """
    fields: dict[str, Any] = {}
    outer = (getattr(getcurrent(), "spawn_tree_locals", None) or {}).get(OUTGOING)
    if outer is not None:
        fields.update(outer.fields)
    if annotations is not None:
        if not isinstance(annotations, Mapping) or not all(isinstance(name, str) for name in annotations):
            raise TypeError("annotations are a mapping with texts as keys")
        fields[metadata.ANNOTATIONS] = {**fields.get(metadata.ANNOTATIONS, {}), **annotations}
    if correlation_id is not None:
        if not 0 < len(correlation_id) <= _MAX_ID or not correlation_id.isprintable():
            raise ValueError(f"a correlation id has 1 to {_MAX_ID} printable characters: {correlation_id!r}")
        fields[metadata.CORRELATION] = correlation_id
    if traceparent is not None:
        if not _TRACEPARENT.match(traceparent):
            raise ValueError(f"no traceparent as in the W3C's Trace Context: {traceparent!r}")
        fields[metadata.TRACE] = traceparent
    outgoing = Outgoing(fields)
    with _with_locals({OUTGOING: outgoing}):
        yield outgoing.received


def keep_received(fields: dict[str, Any]) -> None:
    """Keep what came with an answer for the block that asked."""
    outgoing = (getattr(getcurrent(), "spawn_tree_locals", None) or {}).get(OUTGOING)
    annotations = fields.get(metadata.ANNOTATIONS)
    if outgoing is not None and isinstance(annotations, dict):
        outgoing.received.update(annotations)


class CallContext:
    """What is known of the call that a method, or a greenlet that it spawned, works for.

    Attributes:
        caller: who calls, as in the local storage.
        annotations: what the caller gave along.
        answer_annotations: to be filled with what the answer is to take back.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        if call.fields is None:
            call.fields = {}
        self.caller = call.session.caller
        given = call.fields.get(metadata.ANNOTATIONS)
        self.annotations: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        if call.answer_annotations is None:
            call.answer_annotations = {}
            call.watched = True
        self.answer_annotations = call.answer_annotations

    @property
    def correlation_id(self) -> str:
        """The id that the calls of a chain have in common: the caller's, or a new one if it gave none."""
        fields = self._call.fields
        assert fields is not None
        given = fields.get(metadata.CORRELATION)
        if not isinstance(given, str) or not 0 < len(given) <= _MAX_ID or not given.isprintable():
            given = fields[metadata.CORRELATION] = getGUID()
        return given

    @property
    def traceparent(self) -> str | None:
        """The caller's traceparent, as in the W3C's Trace Context; None if there is none."""
        given = (self._call.fields or {}).get(metadata.TRACE)
        return given if isinstance(given, str) and _TRACEPARENT.match(given) else None

    @property
    def time_left(self) -> float | None:
        """Seconds until the deadline of the call; 0.0 when it passed, None if there is none."""
        until = self._call.deadline
        return None if until is None else max(0.0, until - monotonic())

    def __repr__(self) -> str:
        return f"<CallContext {self.correlation_id} from {self.caller.addr}>"


def current_context() -> CallContext | None:
    """The context of the call that this greenlet works for; None outside of calls."""
    call = current_call()
    return None if call is None else CallContext(call)
