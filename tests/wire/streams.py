"""Connections in every state, valid streams for each, and ways to cut them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, settings

from gpyro.errors import WireError
from gpyro.wire.connection import Connection, State
from gpyro.wire.frames import MAGIC, Frame, Kind, pack, pack_text
from gpyro.wire.hello import SCRAM, Hello

# The same cases in every run, and no times that a busy machine could miss.
SAME_CASES = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))

MESSAGE = 20_000

HELLO = Hello(calls=8, size=100_000, message=MESSAGE, sessions=4)
PROVING_HELLO = replace(HELLO, capabilities=(SCRAM,))

PLACES = [(False, state) for state in State if state is not State.PROVED]
PLACES += [(True, state) for state in State if state is not State.DECIDING]
PLACE_NAMES = [f"{'connecting' if connecting else 'accepting'}-{state.name}" for connecting, state in PLACES]

# What rule S2 of docs/wire.md lets in.
ESTABLISHED = frozenset(
    (
        0x08,
        0x09,
        *range(0x10, 0x16),
        0x20,
        0x21,
        0x22,
        0x29,
        0x2A,
        0x2B,
        0x30,
        0x32,
        0x33,
        0x34,
        0x35,
        0x36,
        *range(0x80, 0x100),
    )
)
EXPECTED: dict[tuple[bool, State], frozenset[int]] = {
    (False, State.HELLO): frozenset({0x01}),
    (False, State.PROVING): frozenset({0x03}),
    (True, State.HELLO): frozenset({0x02, 0x03, 0x04}),
    (True, State.PROVING): frozenset({0x02, 0x03, 0x04}),
    (True, State.PROVED): frozenset({0x02, 0x04}),
    (False, State.ESTABLISHED): ESTABLISHED,
    (True, State.ESTABLISHED): ESTABLISHED,
}


def connection_at(connecting: bool, state: State, own: Hello | None = None) -> Connection:
    """An end in that state, with the peer's magic already read. A connecting one can prove who it is."""
    if own is None:
        own = PROVING_HELLO if connecting else HELLO
    connection = Connection(connecting, own)
    connection.feed(MAGIC)
    if connecting:
        if state is State.ESTABLISHED:
            connection.feed(pack(Kind.WELCOME, body=HELLO.to_bytes()))
        elif state is State.ENDED:
            connection.feed(pack_text(Kind.REFUSED, 1, "no"))
        elif state is not State.HELLO:
            connection.feed(pack(Kind.AUTHENTICATE) * (1 if state is State.PROVING else 2))
    elif state is not State.HELLO:
        hello = PROVING_HELLO if state is State.PROVING else HELLO
        connection.feed(pack(Kind.HELLO, body=hello.to_bytes()))
        if state is State.ESTABLISHED:
            connection.welcome(own)
        elif state is State.ENDED:
            connection.refuse(1)
    assert connection.state is state
    return connection


def frames_of_all_kinds() -> list[Frame]:
    """What an established connection may get: every kind, empty, small and large bodies."""
    chance = random.Random(1)
    bodies: list[tuple[int, bytes]] = []
    for kind in sorted(ESTABLISHED - set(range(0x83, 0x100))):
        if kind in (Kind.CLOSE, Kind.CANCEL):
            sizes = [0, 0]
        elif kind in (Kind.CREDIT, Kind.PING, Kind.PONG):
            sizes = [8, 0, 3]
        else:
            sizes = [0, 1, 15, 16, 17, 300]
        bodies += [(kind, chance.randbytes(size)) for size in sizes]
    bodies += [(kind, chance.randbytes(MESSAGE)) for kind in (Kind.CALL, Kind.RESULT, 0xFF)]
    chance.shuffle(bodies)
    return [
        # Without the flag that says that there are buffers.
        (kind, chance.randrange(256) & ~0x20, chance.getrandbits(32), chance.getrandbits(32), body)
        for kind, body in bodies
    ]


def to_bytes(frames: Iterable[Frame]) -> bytes:
    return b"".join(pack(kind, call_id, session, body, flags) for kind, flags, call_id, session, body in frames)


def pieces(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """`data` cut at those places, of which some may be the same."""
    for start, stop in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        yield data[start:stop]


def feed_all(connection: Connection, parts: Iterable[bytes]) -> list[Frame]:
    """What comes out when `parts` arrive one by one, in a buffer that is used again and again, as it is in reality."""
    frames: list[Frame] = []
    for part in parts:
        buffer = bytearray(part + b"\xee" * 7)
        view = memoryview(buffer)
        frames += connection.feed(view, len(part))
        view[:] = b"\xdd" * len(buffer)
    return frames


def attempt(function: Callable[..., Any], *arguments: Any) -> tuple[Any, WireError | None]:
    """What the function gives, or the WireError that it raises; anything else it raises gets out."""
    try:
        return function(*arguments), None
    except WireError as error:
        return None, error
