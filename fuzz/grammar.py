"""What the fuzzer starts from: valid inputs of each kind, some that are nearly so, and ways to damage them."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import random
import struct
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import bombs
import by_hand

from gpyro import auth
from gpyro.errors import RemoteError, SerializationError
from gpyro.testing.samples import SAMPLES, registry_of_samples
from gpyro.values import JsonSerializer, Limits, MsgpackSerializer, codes, register_class
from gpyro.values.codes import RAW_CODES
from gpyro.wire import metadata
from gpyro.wire.buffers import chunk_header, pack_announcement
from gpyro.wire.frames import CREDIT_BODY, FLAG_METADATA, HEADER, MAGIC, MAX_ID, Kind, pack
from gpyro.wire.hello import SCRAM, Hello

MAX_INPUT = 256 * 1024
MAX_MUTATED = 64 * 1024


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    first: Any
    second: Any


class Names(dict[Any, Any]):
    """A subclass of a builtin type."""


class AppError(Exception):
    """An exception that travels."""


class CodedError(Exception):
    """An exception with a state of its own making."""

    def __init__(self, code: Any = 0) -> None:
        super().__init__(code)
        self.code = code


REGISTRY = registry_of_samples()
for _register in (REGISTRY.register, register_class):
    for _cls in (Point, Colour, Mode, Pair, Names, AppError):
        _register(_cls, name=f"fuzz.{_cls.__name__}")
    _register(CodedError, name="fuzz.CodedError", to_state=lambda error: error.code, from_state=CodedError)

# Low limits, so that inputs of some KiB go over them.
LIMITS = Limits(max_bytes=30_000, max_containers=300, max_hash_collisions=5, max_depth=20)
MSGPACK = MsgpackSerializer(REGISTRY, LIMITS)
# For the few inputs that are larger than that.
LARGE = MsgpackSerializer(REGISTRY, Limits(max_bytes=1 << 20, max_containers=50_000))
JSON = JsonSerializer(REGISTRY, LIMITS)
OWN = Hello(calls=8, size=100_000, message=20_000, sessions=4, buffers=50_000)
OWN_BYTES = OWN.to_bytes()

PROVING = dataclasses.replace(OWN, capabilities=(SCRAM,))
SOMEBODY = auth.Identification.of(("user", "passphrase"))
SECRETS = auth.Secrets(iterations=4096)  # the fewest that there may be

# Ends in all their states.
PLACES = [
    *((False, step) for step in ("beginning", "magic", "deciding", "proving", "challenged", "established")),
    *((True, step) for step in ("beginning", "magic", "proving", "proved", "refused", "established")),
]
BEGINNING = (PLACES.index((False, "beginning")), PLACES.index((True, "beginning")))
ESTABLISHED = (PLACES.index((False, "established")), PLACES.index((True, "established")))

FEED, HELLO, METADATA, IN_MSGPACK, IN_JSON, FRAMES, PROOF = range(7)
"""Numbers of the targets, in their order in `wire_targets.TARGETS`: the first byte of an input."""


# ---- values


def _simple(chance: random.Random) -> Any:
    made: list[Callable[[], Any]] = [
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
        lambda: Mode(chance.randrange(4)),
    ]
    return chance.choice(made)()


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any value that can travel."""
    if depth > 3 or chance.random() < 0.4:
        return _simple(chance)

    def some() -> list[Any]:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]

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
        lambda: Point(value(chance, depth + 1), some()),
        lambda: Pair(1, value(chance, depth + 1)),
        lambda: Names(zip("ab", some(), strict=False)),
        lambda: error(chance) if depth > 1 else ValueError(*some()),
    ]
    return chance.choice(nested)()


def error(chance: random.Random) -> BaseException:
    """Any exception."""
    if chance.random() < 0.2:
        members = [chance.choice((ValueError(1), AppError(2), CodedError((3,)))) for _ in range(chance.randrange(1, 4))]
        return ExceptionGroup("group", [*members, members[0]])
    errors = [ValueError("text", 1), KeyError("k"), OSError(2, "no", "file"), AppError(3), CodedError(4)]
    errors += [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ImportError("m", name="n")]
    errors += [RemoteError("no.Such", "text", {"a": 1}), SerializationError("text", "path")]
    errors += [SyntaxError("bad", ("file", 1, 2, "text", 1, 4)), StopIteration(1)]
    found = chance.choice(errors)
    found.__cause__ = chance.choice([None, ValueError(_simple(chance))])
    found.__context__ = chance.choice([None, AppError("context")])
    found.add_note("note")
    return found


def body(chance: random.Random, serializer: Any) -> bytes:
    """A value, a call, a name with a value, or an error, encoded."""
    makers: list[Callable[[], bytes]] = [
        lambda: serializer.encode(value(chance)),
        lambda: serializer.encode_call("echo", (value(chance),), {"k": value(chance)}),
        lambda: serializer.encode(["name", value(chance)]),
        lambda: serializer.encode_error(error(chance), ["line\n"]),
    ]
    while True:
        try:
            return chance.choice(makers)()
        except SerializationError:  # an exception among the values that needs registration
            continue


def part(chance: random.Random, depth: int = 0) -> bytes:
    """A value in msgpack that need not be one that can be: any state for any code."""
    kind = chance.random()
    if depth > 4 or kind < 0.55:
        return chance.choice(_PARTS)
    if kind < 0.7:
        return by_hand.array(*(part(chance, depth + 1) for _ in range(chance.randrange(6))))
    if kind < 0.75:
        names = [by_hand.text(chance.choice(_NAMES)) for _ in range(chance.randrange(4))]
        return by_hand.mapping(*(half for name in names for half in (name, part(chance, depth + 1))))
    code = chance.randrange(1, 31)
    ignored = chance.choice(_IGNORED) if chance.random() < 0.1 else b""
    return by_hand.extension(code, b"" if kind > 0.99 else _state(chance, code, depth + 1) + ignored)


def _state(chance: random.Random, code: int, depth: int) -> bytes:
    """A state for a code, mostly of the right form."""
    if code in RAW_CODES:
        return chance.randbytes(chance.choice((0, 1, 8, 16)))
    if code == codes.EXCEPTION:
        return by_hand.array(*(_record(chance, number) for number in range(chance.randrange(1, 5))))
    if code == codes.OBJECT:
        return by_hand.array(by_hand.text(chance.choice(_CLASSES)), part(chance, depth))
    if code in (codes.NDARRAY, codes.NUMPY_SCALAR):
        dtype = by_hand.text(chance.choice(("<f8", "|V0", "|O", "<U2", "<M8[s]", "|S3")))
        shape = by_hand.array(*(by_hand.number(chance.choice((0, 1, 2, 2**40))) for _ in range(chance.randrange(3))))
        data = by_hand.binary(bytes(chance.choice((0, 3, 8, 16))))
        return by_hand.array(*((dtype, shape, by_hand.text("C"), data) if code == codes.NDARRAY else (dtype, data)))
    if chance.random() < 0.2:
        return part(chance, depth)
    count = chance.choice((2, 3, 3, 4, 6, 9, chance.randrange(30)))
    one = part(chance, depth)
    return by_hand.array(*(one if chance.random() < 0.5 else part(chance, depth) for _ in range(count)))


def _record(chance: random.Random, number: int) -> bytes:
    """The record of an exception, with any fields."""
    names = {name: part(chance, 3) for name in chance.sample(_FIELDS, chance.randrange(6))}
    links = [chance.randrange(-1, 6) for _ in range(chance.randrange(4))]
    cause = chance.choice((None, number + 1, 0))
    return by_hand.record(chance.choice(_ERRORS), links if chance.random() < 0.4 else None, cause, names)


_PARTS = [
    by_hand.NIL, b"\xc2", b"\xc3", b"\x00", b"\x01", b"\x02", b"\x05", b"\xff", b"\xfe", by_hand.number(2024),
    by_hand.number(2**63), by_hand.number(-(2**40)), b"\xcb" + bytes(8), b"\xcb\x7f\xf8" + bytes(6), by_hand.text("a"),
    by_hand.text("1.5"), by_hand.text("RED"), by_hand.text("posix"), by_hand.text("list"), by_hand.text("UTC"),
    by_hand.text("No/Such"), by_hand.binary(b""), by_hand.binary(b"bytes"), by_hand.array(), by_hand.mapping(),
]  # fmt: skip
# What a decoder does not look at, behind the value of an extension value.
_IGNORED = [
    b"\xc6\x00\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xcf",
    b"\x90",
    b"\xdd\x00\x00",
    b"\xc9\x00\xff\xff\xff\x01",
]
_NAMES = ["x", "y", "first", "__class__", "__x__", "tags", "name", "text", "attributes", "a\x00"]
_FIELDS = [
    *("errno", "strerror", "filename", "msg", "name", "path", "lineno", "offset", "text", "end_lineno", "end_offset"),
    *("encoding", "object", "start", "end", "reason", "value", "characters_written"),
]
_ERRORS = [
    *("ValueError", "OSError", "BlockingIOError", "ImportError", "SyntaxError", "UnicodeDecodeError", "KeyError"),
    *("UnicodeEncodeError", "UnicodeTranslateError", "StopIteration", "NameError", "ExceptionGroup", "SystemExit"),
    *("fuzz.AppError", "fuzz.CodedError", "gpyro.errors.RemoteError", "gpyro.errors.SerializationError", "no.Such"),
]
_CLASSES = ["no.Such", *REGISTRY._by_name]


# ---- frames

_USUAL = [*range(0x08, 0x0A), 0x10, 0x11, *range(0x13, 0x16), *range(0x20, 0x23), 0x30, *range(0x32, 0x37), 0x80, 0xFF]
_WITH_VALUES = (Kind.CALL, Kind.ONEWAY, Kind.SET, Kind.RESULT, Kind.ERROR)
_LIMITS = {Kind.CLOSE: 0, Kind.CANCEL: 0, Kind.CREDIT: 8, Kind.PING: 8, Kind.PONG: 8}
_IDS = (0, 1, 2, 3, 4, MAX_ID - 1, MAX_ID)


def frames(chance: random.Random) -> bytes:
    """Frames, most of them such as an established connection may get."""
    out = b""
    for _ in range(chance.randrange(1, 8)):
        if chance.random() < 0.1:
            out += _buffers(chance)
            continue
        kind = chance.choice(_USUAL) if chance.random() < 0.9 else chance.choice([*Kind, 0x00, 0x7F])
        limit = _LIMITS.get(kind, 400)
        content = chance.choice((b"", bytes(8), b"obj", b"\x06why", OWN_BYTES, chance.randbytes(limit)))[:limit]
        flags = chance.choice((0, 0, 0, 1, 2, 0x80, 0xFF))
        if kind in _WITH_VALUES and chance.random() < 0.8:
            content = body(chance, MSGPACK)
        if kind == Kind.CREDIT:
            content = CREDIT_BODY.pack(chance.choice((0, 1, MAX_ID)), chance.choice((0, 1, MAX_ID)))
        if flags & FLAG_METADATA and chance.random() < 0.8:
            content = metadata.prepend({"chain": [b"12345678"] * chance.randrange(3)}, content)
        out += pack(kind, chance.choice(_IDS), chance.choice(_IDS), content, flags)
    return out


def _buffers(chance: random.Random) -> bytes:
    """An announcement of buffers and pieces of them, not always such as were announced."""
    number = chance.choice(_IDS)
    entries = [
        (chance.choice((0, 1, 1, ord("d"), 9)), chance.choice((1, 5, 8, 100))) for _ in range(chance.randrange(4))
    ]
    out = pack_announcement(number, entries)
    for _, size in entries:
        while size > 0 and chance.random() < 0.9:
            part = chance.choice((size, size, 1, size + 1))
            size -= part
            out += chunk_header(chance.choice((number, number, number, 3)), part) + bytes(part)
    return out


# What other protocols begin with.
_FOREIGN = (
    b"GET / HTTP/1.1",
    b"HTTP/1.1 400",
    b"\x16\x03\x01\x02\x00",
    b"\x15\x03\x03\x00",
    b"PYRO\x00\x05",
    b"SSH-2.0-x",
)


# Messages of a proof; NONCE stands for that of the end that they are for.
_PROOFS = (
    b"n,,n=%s,r=0123456789",
    b"r=NONCE1234,s=QSXCR+Q6sek8bf92,i=4096%.0s",
    b"r=NONCE1234,s=QSXCR+Q6sek8bf92,i=%.0s99999999",
    b"c=biws,r=NONCE,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=%.0s",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsQoRmqA=%.0s",
    b"e=other-error%.0s",
)


def fresh(chance: random.Random, target: int) -> bytes:
    """A valid input, or nearly so, for a target, with its number."""
    cuts, connecting = chance.choice((0, 1, chance.randrange(256))), chance.randrange(2)
    if target == FEED:
        opening = pack(Kind.WELCOME if connecting else Kind.HELLO, body=OWN_BYTES)
        choices = (
            bytes((connecting, cuts)) + chance.choice(_FOREIGN) + chance.randbytes(20),
            bytes((BEGINNING[connecting], cuts)) + MAGIC + opening + frames(chance) * connecting,
            bytes((ESTABLISHED[connecting], cuts)) + frames(chance),
            bytes((chance.randrange(len(PLACES)), cuts)) + frames(chance),
        )
        made = chance.choice(choices)
    elif target == HELLO:
        changes: tuple[dict[str, Any], ...] = (
            {},
            {"agent": "x\n"},
            {"calls": 2**32 - 1},
            {"versions": (1, 9)},
            {"capabilities": ("a", "b")},
            {"serializers": ("msgpack", "json", "pickle")},
        )
        made = dataclasses.replace(OWN, **chance.choice(changes)).to_bytes()
    elif target == METADATA:
        fields: dict[str, Any] = {"chain": [chance.randbytes(8)], "a": {"b": [1, None, 2.5, "text"]}}
        made = metadata.prepend({key: fields[key] for key in chance.choice(([], ["chain"], ["chain", "a"]))}, b"body")
    elif target == PROOF:
        made = chance.choice(_PROOFS) % chance.choice((b"user", b"-", b"u=2Cx", b"\xc3\xbc", b""))
    elif target == FRAMES:
        made = bytes((chance.randrange(4), cuts)) + frames(chance)
    else:
        made = body(chance, MSGPACK if target == IN_MSGPACK else JSON)
        if target == IN_MSGPACK and chance.random() < 0.5:
            made = part(chance) if chance.random() < 0.7 else by_hand.report([_record(chance, 0), _record(chance, 1)])
    return bytes((target,)) + made


def corpus() -> list[bytes]:
    """Inputs that are the same in every run: values of every type, and small payloads of `bombs`."""
    found = []
    for number, codec in ((IN_MSGPACK, MsgpackSerializer(REGISTRY)), (IN_JSON, JsonSerializer(REGISTRY))):
        for sample in SAMPLES:
            encoded = codec.encode(sample)
            if len(encoded) <= MAX_MUTATED // 16 and not isinstance(sample, (set, frozenset)):
                found.append(bytes((number,)) + encoded)
    found.append(bytes((HELLO,)) + OWN_BYTES.replace(b'"agent":"', b'"agent":["').replace(b'"}', b'"]}'))
    found.append(bytes((HELLO,)) + b"[]")
    numbers = {"value": IN_MSGPACK, "error": IN_MSGPACK, "json": IN_JSON, "hello": HELLO, "metadata": METADATA}
    for bomb in bombs.BOMBS:
        if bomb.way in numbers and len(payload := bomb.payload(10)) <= MAX_MUTATED // 16:
            found.append(bytes((numbers[bomb.way],)) + payload)
    try:
        import numpy
    except ImportError:
        return found
    arrays = [numpy.arange(6.0).reshape(2, 3), numpy.zeros(2, [("a", "<i4"), ("b", "U3", (2,))]), numpy.float32(1)]
    return found + [bytes((IN_MSGPACK,)) + MsgpackSerializer().encode(array) for array in arrays]


def large(chance: random.Random) -> bytes:
    """A payload of `bombs` of some 70 KiB, or what it makes of that."""
    while True:
        bomb = chance.choice(_LARGE_BOMBS)
        payload = bomb.payload(3_000 if bomb.size == bombs.DEEP else 70_000)
        if 1_000 < len(payload) < MAX_INPUT:
            return bytes((IN_JSON if bomb.way == "json" else IN_MSGPACK,)) + payload


_LARGE_BOMBS = [bomb for bomb in bombs.BOMBS if bomb.way in ("value", "error", "json") and callable(bomb.make)]


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


def mutate(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """`data` with a few changes, perhaps with a piece of `other`; its first byte, the target, stays."""
    out = bytearray(data)
    for _ in range(1 << chance.randrange(4)):
        at = chance.randrange(1, len(out)) if len(out) > 1 else len(out)
        choice = chance.randrange(10)
        if at >= len(out):
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
        elif choice == 7 and len(other) > 1:
            start = chance.randrange(1, len(other))
            out[at:] = other[start : start + chance.randrange(1, 2000)]
        elif choice == 8:
            del out[at:]
        else:
            kind, length = chance.randrange(256), chance.choice(_NUMBERS)
            out[at:at] = HEADER.pack(kind, chance.choice((0, 1)), 0, chance.randrange(4), chance.randrange(4), length)
    return bytes(out[: max(MAX_MUTATED, len(data))])
