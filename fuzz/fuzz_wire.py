"""Fuzzes what a stranger's bytes reach first: frames, hellos, metadata and values.

The invariants: `Connection.feed` gives frames or raises one WireError, the same however the bytes are cut; `Hello` and
the metadata are read or refused by a WireError; decoding gives a value or raises SerializationError. Nothing else may
be raised, and nothing may take long.

Usage: fuzz_wire.py [--seconds N] [--runs N] [--seed N] [FILE...]

With files, these inputs are run, each once. Without, valid inputs are mutated; the same seed makes the same inputs, as
long as the code that they meet is the same. An input that breaks an invariant is written to fuzz/crashes/, and the exit
code is 1. Where `atheris` is installed, its coverage-guided engine does the mutating.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import decimal
import enum
import faulthandler
import fractions
import hashlib
import mmap
import random
import re
import resource
import struct
import sys
import time
import traceback
import uuid
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gpyro.errors import SerializationError, WireError
from gpyro.values import register_class, serializer_by_name
from gpyro.wire import metadata
from gpyro.wire.connection import Connection
from gpyro.wire.frames import HEADER, HEADER_SIZE, MAGIC, MAX_ID, SMALL_LIMIT, Frame, Kind, pack, pack_text
from gpyro.wire.hello import Hello

CRASHES = Path(__file__).resolve().parent / "crashes"

SLOW = 5.0
"""Seconds that one input may take; each is of a few KiB."""

MEMORY = 4 * 1024**3
"""Bytes of address space: what takes more is a finding, not a burden for the machine."""

MAX_INPUT = 64 * 1024
MAX_POOL = 5_000


class Broken(Exception):
    """An invariant does not hold."""


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Pair(NamedTuple):
    first: Any
    second: Any


class AppError(Exception):
    """An exception that travels."""


for _cls in (Point, Colour, Pair, AppError):
    register_class(_cls, name=f"fuzz.{_cls.__name__}")

MSGPACK = serializer_by_name("msgpack")
JSON = serializer_by_name("json")
OWN = Hello(calls=8, size=100_000, message=20_000, sessions=4)
OWN_BYTES = OWN.to_bytes()


# ---- the targets: each takes bytes and tells what came of them, so that a new outcome can be told from an old one


def _connection(place: int) -> Connection:
    """An end in one of its states."""
    connecting = bool(place & 1)
    connection = Connection(connecting, OWN)
    step = place >> 1 & 3
    if step == 0:
        return connection
    connection.feed(MAGIC)
    if connecting and step == 2:
        connection.feed(pack(Kind.WELCOME, body=OWN_BYTES))
    elif connecting and step == 3:
        connection.feed(pack_text(Kind.REFUSED, 1, "no"))
    elif step >= 2:
        connection.feed(pack(Kind.HELLO, body=OWN_BYTES))
        if step == 3 or place & 8:
            connection.welcome(OWN)
    return connection


def _pieces(data: bytes, seed: int) -> list[bytes]:
    """`data` cut as `seed` wants: whole, byte by byte, or anywhere."""
    if seed == 0:
        return [data]
    if seed == 1:
        return [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(seed)
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(seed & 15))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _feed(place: int, pieces: list[bytes]) -> tuple[list[Frame], str]:
    connection = _connection(place)
    frames: list[Frame] = []
    try:
        for piece in pieces:
            frames += connection.feed(piece)
            if len(connection._head) >= HEADER_SIZE:
                raise Broken("a whole header is kept")
    except WireError as error:
        if not error.rule:
            raise Broken(f"no rule: {error}") from error
        _check_end(connection, str(error))
        return frames, str(error)
    return frames, ""


def _check_end(connection: Connection, text: str) -> None:
    """After a breach there are no frames any more."""
    connection.goodbye(6, text)
    for late in (pack(Kind.PING), MAGIC + pack(Kind.HELLO, body=OWN_BYTES), b"x", pack(0xFF) * 2):
        try:
            if connection.feed(late):
                raise Broken("a frame after a breach")
        except WireError:
            continue


def fuzz_feed(data: bytes) -> object:
    """A connection in the state of the first byte is fed the rest, cut as the second byte says, and byte by byte."""
    if len(data) < 2:
        return None
    place, stream = data[0], data[2:]
    frames, error = _feed(place, _pieces(stream, data[1]))
    slowly, same_error = _feed(place, _pieces(stream, 1 if len(stream) <= 512 else 77))
    if error != same_error:
        raise Broken(f"cut otherwise it is another error: {error!r}, {same_error!r}")
    shorter = min(len(frames), len(slowly))
    if frames[:shorter] != slowly[:shorter] or (not error and len(frames) != len(slowly)):
        raise Broken("cut otherwise there are other frames")
    for kind, _, call_id, session_id, body in frames:
        if type(body) is not bytes or len(body) > max(OWN.message, SMALL_LIMIT) or max(call_id, session_id) > MAX_ID:
            raise Broken(f"an impossible frame of kind {kind}")
    return place & 15, tuple(sorted({frame[0] for frame in frames})), _bare(error)


def fuzz_hello(data: bytes) -> object:
    """A hello is read, and what was read can be said again."""
    try:
        hello = Hello.from_bytes(data)
    except WireError as error:
        return _bare(str(error))
    if Hello.from_bytes(hello.to_bytes()) != hello:
        raise Broken("a hello that changes")
    return len(hello.serializers), len(hello.capabilities), hello.versions == (1, 1)


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
    """A body in msgpack, as all that it can be."""
    return _decode_all(MSGPACK, data)


def fuzz_json(data: bytes) -> object:
    """A body in JSON, as all that it can be."""
    return _decode_all(JSON, data)


def _decode_all(serializer: Any, data: bytes) -> object:
    outcomes: list[str] = []
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


def _bare(text: str) -> str:
    """An error's text without what differs between inputs."""
    return "!" + re.sub(r"0x[0-9a-f]+|\d+|'[^']*'|\"[^\"]*\"|\\x..", "#", text)[:60] if text else ""


TARGETS: list[Callable[[bytes], object]] = [fuzz_feed, fuzz_hello, fuzz_metadata, fuzz_msgpack, fuzz_json]


def one_input(data: bytes) -> object:
    """Run one input: its first byte chooses the target. Raises what a target must not raise."""
    if not data:
        return None
    number = data[0] % len(TARGETS)
    started = time.monotonic()
    outcome = TARGETS[number](data[1:])
    if time.monotonic() - started > SLOW:
        raise Broken(f"it took {time.monotonic() - started:.1f} s")
    return number, outcome


# ---- valid inputs


def _value(chance: random.Random, depth: int = 0) -> Any:
    """Any value that can travel."""
    simple: list[Callable[[], Any]] = [
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.randrange(-200, 70_000),
        lambda: chance.getrandbits(chance.choice((31, 63, 64, 65, 200))),
        chance.random,
        lambda: chance.choice(("", "text", "ü" * 20, "\ud800", "x" * 300)),
        lambda: chance.randbytes(chance.randrange(40)),
        lambda: bytearray(b"array"),
        lambda: datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.UTC),
        lambda: datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "CET")),
        lambda: datetime.date(1, 1, 1),
        lambda: datetime.time(23, 59, fold=1),
        lambda: datetime.timedelta(-1, 5),
        lambda: decimal.Decimal("-1.5E+10"),
        lambda: fractions.Fraction(-3, 7),
        lambda: uuid.UUID(int=chance.getrandbits(128)),
        lambda: complex(1, -2),
        lambda: range(1, 10, 3),
        lambda: slice(None, 5),
        lambda: Path("/a/b"),
        lambda: ...,
        lambda: chance.choice(list(Colour)),
    ]
    if depth > 3 or chance.random() < 0.4:
        return chance.choice(simple)()

    def some() -> list[Any]:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]

    def keys() -> list[Any]:
        return [chance.choice((1, "a", (1, "b"), b"k", 2.5, None, frozenset({1}))) for _ in range(3)]

    nested: list[Callable[[], Any]] = [
        some,
        lambda: tuple(some()),
        lambda: set(keys()[:1]),  # the order of more would differ from run to run
        lambda: frozenset(keys()[:1]),
        lambda: dict(zip("abc", some(), strict=False)),
        lambda: dict(zip(keys(), some(), strict=False)),
        lambda: OrderedDict(zip(keys(), some(), strict=False)),
        lambda: defaultdict(list, {"a": some()}),
        lambda: Counter("abca"),
        lambda: deque(some(), 9),
        lambda: Point(_value(chance, depth + 1), some()),
        lambda: Pair(1, _value(chance, depth + 1)),
        lambda: ValueError(*some()),
    ]
    return chance.choice(nested)()


def _error(chance: random.Random) -> BaseException:
    errors = [ValueError("text", 1), KeyError("k"), OSError(2, "no", "file"), AppError(3), SystemExit(1)]
    errors += [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ImportError("m", name="n")]  # type: ignore[list-item]
    error = chance.choice(errors)
    error.__cause__ = chance.choice([None, ValueError(_value(chance))])
    error.__context__ = chance.choice([None, AppError("context")])
    error.add_note("note")
    return ExceptionGroup("group", [ValueError(1), AppError(2)]) if chance.random() < 0.2 else error


def _frames(chance: random.Random) -> bytes:
    """Frames, most of them such as an established connection may get."""
    out = b""
    for _ in range(chance.randrange(1, 8)):
        if chance.random() < 0.9:
            kind = chance.choice(_USUAL)
            longest = 0 if kind in (Kind.CLOSE, Kind.CANCEL) else 8 if kind in _OF_8_BYTES else 400
        else:
            kind, longest = chance.choice([*Kind, 0x00, 0x7F]), 400
        body = chance.choice((b"", bytes(8), b"obj", b"\x06why", OWN_BYTES, chance.randbytes(longest)))[:longest]
        ids = (0, 1, 2, 3, 4, MAX_ID - 1, MAX_ID)
        out += pack(kind, chance.choice(ids), chance.choice(ids), body, chance.choice((0, 0, 1, 2, 0x80, 0xFF)))
    return out


_USUAL = [*range(0x08, 0x0A), 0x10, 0x11, *range(0x13, 0x16), *range(0x20, 0x23), 0x30, *range(0x33, 0x37), 0x80, 0xFF]
_OF_8_BYTES = (Kind.CREDIT, Kind.PING, Kind.PONG)
# Places for `_connection`: both ends at the very beginning, and established.
_BEGINNING, _ESTABLISHED = (0, 1), (6, 5)


def seeds(chance: random.Random) -> list[bytes]:
    """Valid inputs for each target, and some that are nearly so."""
    found = []
    for _ in range(200):
        cuts = chance.choice((0, 1, chance.randrange(256)))
        connecting = chance.randrange(2)
        opening = pack(Kind.WELCOME if connecting else Kind.HELLO, body=OWN_BYTES)
        found += [
            bytes((0, _BEGINNING[connecting], cuts)) + MAGIC + opening + _frames(chance) * connecting,
            bytes((0, _ESTABLISHED[connecting], cuts)) + _frames(chance),
            bytes((0, chance.randrange(16), cuts)) + _frames(chance),
        ]
    for fields in ({}, {"agent": "x\n"}, {"calls": 2**32 - 1}, {"versions": (1, 9)}, {"capabilities": ("a", "b")}):
        found.append(b"\x01" + dataclasses.replace(OWN, **fields).to_bytes())  # type: ignore[arg-type]
    for map_ in ({}, {"chain": [b"12345678"]}, {"a": {"b": [1, None, 2.5, "text"]}}):
        found.append(b"\x02" + metadata.prepend(map_, b"body"))
    for number, serializer in ((3, MSGPACK), (4, JSON)):
        made: list[Callable[[], bytes]] = [
            lambda serializer=serializer: serializer.encode(_value(chance)),  # type: ignore[misc]
            lambda serializer=serializer: serializer.encode_call("echo", (_value(chance),), {"k": 1}),  # type: ignore[misc]
            lambda serializer=serializer: serializer.encode_error(_error(chance), ["line\n"]),  # type: ignore[misc]
        ]
        found += [bytes((number,)) + chance.choice(made)() for _ in range(200)]
    return found


# ---- mutation

_NUMBERS = (
    0,
    1,
    2,
    15,
    16,
    17,
    127,
    128,
    255,
    4095,
    4096,
    4097,
    20_000,
    20_001,
    65_535,
    65_536,
    2**31,
    MAX_ID - 1,
    MAX_ID,
)
_BYTES = b'\x00\x01\x7f\x80\x81\x90\x91\x9f\xa0\xc0\xc1\xc4\xc7\xc8\xc9\xd4\xd8\xd9\xdb\xdc\xdd\xde\xdf\xe0\xff"[]{},\\'


def mutate(chance: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    """`data` with a few changes; its first byte, the target, mostly stays."""
    out = bytearray(data)
    for _ in range(1 << chance.randrange(4)):
        at = chance.randrange(1, len(out)) if len(out) > 1 else 0
        choice = chance.randrange(10)
        if not out:
            out += chance.randbytes(8)
        elif choice == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif choice == 1:
            out[at] = chance.choice(_BYTES)
        elif choice == 2:
            out[at] = chance.randrange(256)
        elif choice == 3:
            out[at : at + 4] = struct.pack("!I", chance.choice(_NUMBERS))
        elif choice == 4:
            del out[at : at + 1 + chance.randrange(8)]
        elif choice == 5:
            out[at:at] = bytes((chance.choice(_BYTES),)) * chance.choice((1, 1, 2, 5, 300))
        elif choice == 6:
            out[at:at] = out[at : at + chance.randrange(1, 64)]
        elif choice == 7:
            other = chance.choice(pool)
            if len(other) > 1:
                start = chance.randrange(1, len(other))
                out[at:] = other[start : start + chance.randrange(1, 2000)]
        elif choice == 8:
            del out[at:]
        else:
            kind, length = chance.randrange(256), chance.choice(_NUMBERS)
            out[at:at] = HEADER.pack(kind, chance.choice((0, 1)), 0, chance.randrange(4), chance.randrange(4), length)
    if chance.random() < 0.01 and out:
        out[0] = chance.randrange(256)
    return bytes(out[:MAX_INPUT])


# ---- running


class Journal:
    """The current input in a file of its own, for the case that the interpreter itself dies of it."""

    def __init__(self) -> None:
        CRASHES.mkdir(exist_ok=True)
        self.path = CRASHES / "current"
        self._file = self.path.open("w+b")
        self._file.truncate(MAX_INPUT + 4)
        self._map = mmap.mmap(self._file.fileno(), MAX_INPUT + 4)

    def write(self, data: bytes) -> None:
        self._map[: 4 + len(data)] = struct.pack("!I", len(data)) + data

    def close(self) -> None:
        self._map.close()
        self._file.close()
        self.path.unlink(missing_ok=True)


def keep(data: bytes) -> Path:
    """Write an input that broke an invariant."""
    CRASHES.mkdir(exist_ok=True)
    path = CRASHES / f"wire-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def fuzz(seconds: float, runs: int, seed: int) -> int:
    """Mutate and run; gives the exit code."""
    chance = random.Random(seed)
    pool = seeds(chance)
    known: set[object] = set()
    counts: Counter[str] = Counter()
    journal = Journal()
    started = shown = time.monotonic()
    done = 0
    first = len(pool)
    now = started
    while done < runs if runs else now - started < seconds:
        data = pool[done] if done < first else mutate(chance, chance.choice(pool), pool)
        journal.write(data)
        try:
            outcome = one_input(data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                break
            traceback.print_exc()
            print(f"{type(error).__name__} after {done:,} inputs; the input is in {keep(data)}")
            journal.close()
            return 1
        done += 1
        if outcome not in known:
            # New outcomes are worth mutating further.
            known.add(outcome)
            if len(pool) < MAX_POOL:
                pool.append(data)
        if data:
            counts[TARGETS[data[0] % len(TARGETS)].__name__] += 1
        now = time.monotonic()
        if now - shown >= 10:
            shown = now
            print(f"{now - started:5.0f} s  {done:,} inputs  {done / (now - started):,.0f}/s  {len(known):,} outcomes")
    journal.close()
    took = max(now - started, 0.001)
    print(f"seed {seed}: {done:,} inputs in {took:.1f} s, {done / took:,.0f}/s, {len(known):,} outcomes, no findings")
    print("  " + ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
    return 0


def replay(paths: list[Path]) -> int:
    """Run inputs from files, each once; gives the exit code."""
    code = 0
    for path in paths:
        data = path.read_bytes()
        if path.name == "current":
            data = data[4 : 4 + int.from_bytes(data[:4], "big")]
        try:
            print(f"{path}: {one_input(data)}")
        except BaseException:
            traceback.print_exc()
            print(f"{path}: an invariant is broken")
            code = 1
    return code


def fuzz_by_coverage(atheris: Any, seconds: float, runs: int, seed: int) -> None:
    """Let atheris do it; it ends the process itself."""
    corpus = CRASHES.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    for data in seeds(random.Random(seed)):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    CRASHES.mkdir(exist_ok=True)
    atheris.instrument_all()
    limit = f"-runs={runs}" if runs else f"-max_total_time={int(seconds)}"
    options = [f"-seed={seed or 1}", limit, f"-max_len={MAX_INPUT}", f"-artifact_prefix={CRASHES}/wire-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--runs", type=int, default=0, help="how many inputs, instead of how long")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="inputs to run once, instead of making any")
    options = parser.parse_args(arguments)
    warnings.simplefilter("error")
    if options.files:
        return replay(options.files)
    try:
        import atheris
    except ImportError:
        return fuzz(options.seconds, options.runs, options.seed)
    fuzz_by_coverage(atheris, options.seconds, options.runs, options.seed)
    return 0


if __name__ == "__main__":
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.exit(main(sys.argv[1:]))
