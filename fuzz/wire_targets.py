"""What the fuzzer runs.

Each target takes bytes, and tells what came of them, so that a new outcome can be told from an old one. `Broken`, or
anything else that it raises, is a finding.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any

import grammar
from grammar import JSON, LARGE, LIMITS, MSGPACK, OWN, OWN_BYTES, PROVING, SECRETS

from gpyro.auth import AuthenticationError, Examination, Prover
from gpyro.errors import SerializationError, WireError
from gpyro.values import headers
from gpyro.wire import metadata
from gpyro.wire.connection import Connection
from gpyro.wire.credit import Window
from gpyro.wire.frames import (
    CREDIT_BODY,
    FLAG_METADATA,
    HEADER_SIZE,
    MAGIC,
    MAX_ID,
    SMALL_LIMIT,
    Frame,
    Kind,
    pack,
    pack_text,
    unpack_text,
)
from gpyro.wire.hello import Hello, choose_serializer, choose_version

SLOW = 5.0
"""Seconds that one input may take; each is of a few KiB."""


class Broken(Exception):
    """An invariant does not hold."""


def connection(place: int) -> Connection:
    """An end in one of its states: those of the accepting end first, which `grammar.PLACES` counts."""
    number = place % len(grammar.PLACES)
    connecting, step = grammar.PLACES[number]
    made = Connection(connecting, PROVING)
    if step == "beginning":
        return made
    made.feed(MAGIC)
    if step == "magic":
        return made
    if not connecting:
        made.feed(pack(Kind.HELLO, body=(PROVING if step == "proving" else OWN).to_bytes()))
        if step == "challenged":
            made.authenticate("challenge")
        elif step == "established":
            made.welcome(OWN)
    elif step == "refused":
        made.feed(pack_text(Kind.REFUSED, 1, "no"))
    elif step == "established":
        made.feed(pack(Kind.WELCOME, body=OWN_BYTES))
    else:
        made.feed(pack(Kind.AUTHENTICATE, body=b"challenge") * (2 if step == "proved" else 1))
    return made


def pieces(data: bytes, seed: int) -> list[bytes]:
    """`data` cut as `seed` wants: whole, byte by byte, or anywhere."""
    if seed == 0:
        return [data]
    if seed == 1:
        return [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(seed)
    cuts = sorted(int(chance.random() * (len(data) + 1)) for _ in range(seed & 15))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _feed(place: int, parts: list[bytes]) -> tuple[list[Frame], str]:
    end = connection(place)
    frames: list[Frame] = []
    try:
        for part in parts:
            frames += end.feed(part)
            if len(end._head) >= HEADER_SIZE:
                raise Broken("a whole header is kept")
    except WireError as error:
        if not error.rule:
            raise Broken(f"no rule: {error}") from error
        _check_end(end, str(error))
        return frames, str(error)
    return frames, ""


_LATE = (pack(Kind.PING), MAGIC + pack(Kind.HELLO, body=OWN_BYTES), b"x", pack(0xFF) * 2)


def _check_end(end: Connection, text: str) -> None:
    """After a breach there are no frames any more."""
    end.goodbye(6, text)
    for late in _LATE:
        try:
            if end.feed(late):
                raise Broken("a frame after a breach")
        except WireError:
            continue


def fuzz_feed(data: bytes) -> object:
    """A connection in the state of the first byte is fed the rest, cut as the second byte says, and otherwise."""
    if len(data) < 2:
        return None
    place, stream = data[0], data[2:]
    frames, error = _feed(place, pieces(stream, data[1]))
    slowly, same_error = _feed(place, pieces(stream, 1 if len(stream) <= 60 else 77))
    if error != same_error:
        raise Broken(f"cut otherwise it is another error: {error!r}, {same_error!r}")
    shorter = min(len(frames), len(slowly))
    if frames[:shorter] != slowly[:shorter] or (not error and len(frames) != len(slowly)):
        raise Broken("cut otherwise there are other frames")
    for kind, _, call_id, session_id, content in frames:
        if (
            type(content) is not bytes
            or len(content) > max(OWN.message, SMALL_LIMIT)
            or max(call_id, session_id) > MAX_ID
        ):
            raise Broken(f"an impossible frame of kind {kind}")
    return place % len(grammar.PLACES), tuple(sorted({frame[0] for frame in frames})), _bare(error)


def fuzz_hello(data: bytes) -> object:
    """A hello is read, and what was read can be said again."""
    try:
        hello = Hello.from_bytes(data)
    except WireError as error:
        return _bare(str(error))
    if Hello.from_bytes(hello.to_bytes()) != hello:
        raise Broken("a hello that changes")
    return choose_version(hello.versions), choose_serializer(hello.serializers, ("json", "msgpack"))


def fuzz_metadata(data: bytes) -> object:
    """Metadata is taken off."""
    try:
        fields, rest = metadata.split(data)
    except WireError as error:
        return _bare(str(error))
    if not data.endswith(rest):
        raise Broken("the rest is not the end")
    return len(fields), bool(rest)


def fuzz_msgpack(data: bytes) -> object:
    """A body in msgpack, as all that it can be; what it makes was counted before."""
    try:
        value = LARGE.decode(data)
    except SerializationError:
        pass
    else:
        counted = headers.count_containers(data, 1 << 30)
        if _containers_in(value) > counted:
            raise Broken(f"only {counted} containers were counted")
    return _decode_all(MSGPACK if len(data) <= 2 * LIMITS.max_bytes else LARGE, data)


def _containers_in(value: Any) -> int:
    """How many lists, tuples, dicts and sets a value has, at least."""
    count, level = 0, [value]
    while level:
        below: list[Any] = []
        for member in level:
            if type(member) is dict:
                below += member.values()
            elif type(member) in (list, tuple):
                below += member
            elif type(member) not in (set, frozenset):
                continue
            count += 1
        level = below
    return count


def fuzz_json(data: bytes) -> object:
    """A body in JSON, as all that it can be."""
    return _decode_all(JSON, data)


def _decode_all(serializer: Any, data: bytes) -> object:
    outcomes: list[str] = []
    value: Any = None
    for decode in (serializer.decode_call, serializer.decode_error, serializer.decode):
        try:
            value = decode(data)
        except SerializationError as error:
            outcomes.append(_bare(str(error)))
            continue
        outcomes.append(type(value).__name__)
    if outcomes[2] and not outcomes[2].startswith("!"):
        # What came can be handed on, or is refused properly.
        try:
            serializer.encode(value)
        except SerializationError as error:
            outcomes.append(_bare(str(error)))
    return tuple(outcomes)


def fuzz_frames(data: bytes) -> object:
    """Frames on an established connection, and what they carry, up to where a socket or an object would be needed."""
    if len(data) < 2:
        return None
    serializer = JSON if data[0] & 2 else MSGPACK
    frames, error = _feed(grammar.ESTABLISHED[data[0] & 1], pieces(data[2:], data[1]))
    window = Window(3, 1000)
    return tuple(_content(serializer, window, frame) for frame in frames), _bare(error)


_REQUESTS = (Kind.CALL, Kind.ONEWAY, Kind.GET, Kind.SET, Kind.DESCRIBE)


def _content(serializer: Any, window: Window, frame: Frame) -> object:
    kind, flags, _, _, content = frame
    try:
        if kind in _REQUESTS and flags & FLAG_METADATA:
            _, content = metadata.split(content)
        if kind in (Kind.CALL, Kind.ONEWAY):
            serializer.decode_call(content)
        elif kind in (Kind.SET, Kind.RESULT):
            serializer.decode(content)
        elif kind == Kind.ERROR:
            serializer.decode_error(content)
        elif kind in (Kind.REJECTED, Kind.GOAWAY):
            unpack_text(content)
        elif kind == Kind.CREDIT and len(content) == CREDIT_BODY.size:
            if window.fits(10):
                window.take(10)
            given = window.give(*CREDIT_BODY.unpack(content))
            if not (0 <= window.calls <= window.granted_calls and window.bytes <= window.granted_bytes):
                raise Broken("more credit than was granted")
            return kind, given
    except (WireError, SerializationError) as error:
        return kind, _bare(str(error))
    return kind


def fuzz_proof(data: bytes) -> object:
    """A message of a proof, as each of those that it can be, at either end."""
    prover = Prover(grammar.SOMEBODY)
    first = prover.first()
    examination = Examination(SECRETS, first.encode())
    nonce = examination.challenge.partition("r=")[2].partition(",")[0]
    at_server, at_client = (data.replace(b"NONCE", part.encode()) for part in (nonce, first.rpartition("r=")[2]))
    outcomes: list[object] = []
    for step in (
        lambda: Examination(SECRETS, data).challenge,
        lambda: examination.take(at_server) or examination.proves([SECRETS.keys(grammar.SOMEBODY.passphrase)]),
        lambda: prover.answer(at_client),
        lambda: prover.check(data),
    ):
        try:
            outcomes.append(type(step()).__name__)
        except AuthenticationError as error:
            outcomes.append(_bare(str(error)))
    if examination.confirmation:
        raise Broken("a proof without the passphrase")
    return tuple(outcomes)


_VARYING = re.compile(r"0x[0-9a-f]+|\d+|'[^']*'|\"[^\"]*\"|\\x..")


def _bare(text: str) -> str:
    """An error's text without what differs between inputs."""
    return "!" + _VARYING.sub("#", text[:200])[:60] if text else ""


TARGETS: list[Callable[[bytes], object]] = [
    fuzz_feed,
    fuzz_hello,
    fuzz_metadata,
    fuzz_msgpack,
    fuzz_json,
    fuzz_frames,
    fuzz_proof,
]


def one_input(data: bytes) -> object:
    """Run one input: its first byte chooses the target. Raises what a target must not raise."""
    if not data:
        return None
    number = data[0] % len(TARGETS)
    started = time.process_time()
    outcome = TARGETS[number](data[1:])
    if (took := time.process_time() - started) > SLOW:
        raise Broken(f"it took {took:.1f} s")
    return number, outcome
