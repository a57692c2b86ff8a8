"""Payloads that are small to send and meant to be dear to receive, one table for the tests and for the benchmark.

Each is refused with a certain error, while it is read, in a time and with a memory that the length of the payload
bounds.
"""

from __future__ import annotations

import enum
import gzip
import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from by_hand import (
    NIL,
    array,
    big,
    binary,
    extension,
    fields_of,
    instance,
    mapping,
    ndarray,
    nested,
    nested_dtype,
    number,
    record,
    report,
    text,
    tuples_of_one_hash,
)

from gpyro.errors import SerializationError, WireError
from gpyro.values import codes, register_class, serializer_by_name
from gpyro.wire import metadata
from gpyro.wire.frames import METADATA_LIMIT
from gpyro.wire.hello import Hello

MIB = 1 << 20
SPARE = 64 * 1024
"""Bytes of memory beside twice the payload's that refusing one may take."""

DEEP = 100_000
WALKED = True


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1


class Node:
    """A plain class."""


for _cls in (Colour, Access, Node):
    register_class(_cls, name=f"bombs.{_cls.__name__}")

MSGPACK, JSON = serializer_by_name("msgpack"), serializer_by_name("json")
READERS: dict[str, Callable[[bytes], Any]] = {
    "value": MSGPACK.decode,
    "error": MSGPACK.decode_error,
    "json": JSON.decode,
    "hello": Hello.from_bytes.__wrapped__,  # what it remembers would be free the next time
    "metadata": metadata.split,
}


@dataclass(frozen=True)
class Bomb:
    """One payload.

    Attributes:
        way: where it goes: a key of `READERS`.
        name: what it is, for people.
        make: the payload, or what makes it: of about so many bytes, or with so many parts.
        size: what the checks ask for.
        error: a part of the error; empty where the payload is a value, which must only do no harm.
        walked: the whole of the payload has to be looked at before it can be refused.
    """

    way: str
    name: str
    make: Callable[[int], bytes] | bytes
    error: str
    size: int = MIB
    walked: bool = False

    def payload(self, size: int = 0) -> bytes:
        """The payload, by default of the size that the checks ask for."""
        return self.make if isinstance(self.make, bytes) else self.make(size or self.size)

    def refusal(self, payload: bytes) -> str:
        """Read the payload; the text of its error, empty if it was taken. Any other exception comes out."""
        try:
            READERS[self.way](payload)
        except (SerializationError, WireError) as error:
            return str(error)
        return ""

    def peak(self, payload: bytes) -> int:
        """The most memory that reading the payload takes."""
        tracemalloc.start()
        try:
            self.refusal(payload)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


_MERSENNE = 2**61 - 1  # Python's integers are hashed modulo this

_FAR_AWAY = {name: text("x") for name in ("msg", "text", "filename")} | {
    name: number(1) for name in ("lineno", "offset", "end_lineno")} | {"end_offset": number(10**9)}  # fmt: skip


def _big_int(value: int) -> bytes:
    return extension(codes.BIG_INT, value.to_bytes(12, "little"))


# A decoder ignores what follows the value of an extension value: here the header of a text of 16 MiB.
_HIDING = extension(codes.TUPLE, b"\x90\xdb\x00\xff\xff\xff")


def _deep_lists(times: int) -> bytes:
    """Lists of 1,000 levels in an extension value, so many times in each other: each takes half a MiB of stack."""
    return nested(4, codes.TUPLE, b"\x91", array(_HIDING, nested(times, codes.TUPLE, b"\x91" * 1000, NIL)))


def _groups(count: int, times: int, fields: dict[str, bytes] | None = None) -> list[bytes]:
    """The records of groups that stand in each other, each so many times, and of an exception in the last."""
    found = [record("ExceptionGroup", [at + 1] * times) for at in range(count)]
    return [*found, record("ValueError", fields=fields or {})]


_NO_VALUE = "the bytes are no value"
_DEEP_ERROR = "stand in each other would take more than"
_MANY = "more than 250,000 lists, maps and other containers"

_VALUES: list[tuple[Any, ...]] = [
    # Lengths that lie
    ("text: 4 GiB announced", b"\xdb\xff\xff\xff\xffx", _NO_VALUE),
    ("bytes: 4 GiB announced", b"\xc6\xff\xff\xff\xffx", _NO_VALUE),
    ("list: 4 billion members announced", b"\xdd\xff\xff\xff\xff\x01", _NO_VALUE),
    ("map: 4 billion members announced", b"\xdf\xff\xff\xff\xff\xa1a\x01", _NO_VALUE),
    ("extension value: 4 GiB announced", b"\xc9\xff\xff\xff\xff\x01\x90", _NO_VALUE),
    ("list: 16 million members announced, texts there",
     lambda size: array(*[text("x" * 1000)] * (size // 1000), count=1 << 24), _NO_VALUE),
    ("lists in each other, each announcing a million", lambda size: (b"\xdd\x00\x10\x00\x00" * 900) + text("x" * size),
     _NO_VALUE),
    ("bytes cut off at the end", lambda size: binary(b"x" * size)[:-1], _NO_VALUE),
    ("text in an extension value, longer than it", extension(codes.TUPLE, b"\x91\xdb\x00\x10\x00\x00x"), _NO_VALUE),
    ("array: a shape of 2**40", ndarray(text("<f8"), 1 << 40, data=bytes(8)), "do not fit its shape"),
    ("array: a shape of 2**64 * 0", ndarray(text("<f8"), 1 << 32, 1 << 32), "do not fit its shape"),
    ("array: 2**40 elements of no size", ndarray(text("|V0"), 1 << 40), "too many elements of no size"),
    ("array: more dimensions than there are", ndarray(text("<f8"), *[1] * 5_000), "not the shape"),
    # Nesting
    ("100,000 lists in each other", lambda size: b"\x91" * size + NIL, _NO_VALUE, DEEP),
    ("100,000 maps in each other", lambda size: b"\x81\xa1k" * size + NIL, _NO_VALUE, DEEP),
    ("100,000 tuples in each other", lambda size: nested(size, codes.TUPLE, b"\x91", NIL), _DEEP_ERROR, DEEP),
    ("100,000 extension values in each other", lambda size: nested(size, codes.TUPLE, b"", NIL), _DEEP_ERROR, DEEP),
    ("100,000 class states in each other", lambda size: nested(size, codes.OBJECT, b"\x92\xaabombs.Node\x81\xa1x", NIL),
     _DEEP_ERROR, DEEP),
    ("a mebibyte in 195 tuples in each other", lambda size: nested(195, codes.TUPLE, b"\x91", binary(bytes(size))),
     _DEEP_ERROR),
    ("the same, among bytes that look like headers",
     lambda size: nested(195, codes.TUPLE, b"\x92\xcd\x01\xc9", binary(b"\xc9" * size)), _DEEP_ERROR, MIB, WALKED),
    ("600 lists and tuples in each other", nested(300, codes.TUPLE, b"\x91", NIL), "nested deeper than PYRO_MAX_DEPTH"),
    # Many
    ("a million empty lists", lambda size: array(*[b"\x90"] * size), _MANY, MIB, WALKED),
    ("a million empty maps", lambda size: array(*[b"\x80"] * size), _MANY, MIB, WALKED),
    ("a million empty tuples", lambda size: array(*[b"\xd4\x01\x90"] * size), _MANY, MIB, WALKED),
    ("a million empty lists in a tuple", lambda size: extension(codes.TUPLE, array(*[b"\x90"] * size)), _MANY, MIB,
     WALKED),
    ("a million empty lists, behind what seems to hide them", lambda size: array(_HIDING, *[b"\x90"] * size), _MANY,
     MIB, WALKED),
    ("a mebibyte in 195 tuples in each other, behind what seems to hide them",
     lambda size: nested(195, codes.TUPLE, b"\x92" + _HIDING, binary(bytes(size))), _DEEP_ERROR),
    ("lists for 10 MiB of stack, behind what seems to hide them", _deep_lists(20), "nested deeper than PYRO_MAX"),
    ("a message of over 16 MiB", lambda size: bytes(16 * size + 1), r"limit (is|of) 16,?777,?216"),
    # Keys
    ("keys that are equal", extension(codes.MAP, array(*[b"\x01\x02"] * 1000, count=2000)), "have the same hash"),
    ("integers of one hash",
     extension(codes.MAP, array(*(number(at % 8 * _MERSENNE) + NIL for at in range(1000)), count=2000)),
     "have the same hash"),
    ("big integers of one hash",
     extension(codes.SET, array(*(_big_int(at * _MERSENNE) for at in range(300)))),
     "have the same hash"),
    ("tuples of one hash", tuples_of_one_hash(9), "have the same hash"),
    ("NaN as a key, which is equal to none", extension(codes.SET, array(*[b"\xcb\x7f\xf8" + bytes(6)] * 200)), ""),
    ("a signalling NaN as a key", extension(codes.SET, array(extension(codes.DECIMAL, text("sNaN")))), "signaling NaN"),
    ("lists as keys", extension(codes.SET, array(*[b"\x90"] * 1000)), "unhashable"),
    # Numbers
    ("a range of huge numbers", lambda size: extension(codes.RANGE, array(NIL, big(size), big(size // 2))),
     "extension type 20 of"),
    ("a range of large numbers, for which a division takes long",
     extension(codes.RANGE, array(b"\x00", big(1900), big(1000))), "at most 8,192 bits"),
    ("a date of a huge year", lambda size: extension(codes.DATE, array(big(size), b"\x01", b"\x01")),
     "extension type 11 of"),
    ("a duration of huge numbers", lambda size: extension(codes.TIMEDELTA, array(*[big(size)] * 3)),
     "extension type 13 of"),
    ("a fraction that is not in lowest terms", extension(codes.FRACTION, array(*[big(1024)] * 2)),
     "not in lowest terms"),
    ("a fraction of a negative denominator", extension(codes.FRACTION, array(b"\x01", b"\xff")), "must be positive"),
    ("a decimal that is none", lambda size: extension(codes.DECIMAL, text("x" * size)), "not a decimal"),
    ("a decimal of an endless exponent", lambda size: extension(codes.DECIMAL, text("1E" + "9" * size)),
     "not a decimal"),
    ("a decimal of a huge exponent as a key",
     extension(codes.SET, array(extension(codes.DECIMAL, text("1E+999999999999")))), ""),
    ("a flag of a huge number", instance("bombs.Access", big(4000)), "no value of Access"),
    ("a deque of a negative length", extension(codes.DEQUE, array(b"\xff")), "longer than its maxlen"),
    # Time
    ("a year after the last", extension(codes.DATETIME, array(number(10_000), *[b"\x01"] * 7, NIL)),
     "year 10000 is out of range"),
    ("a year of 63 bits", extension(codes.DATETIME, array(number(1 << 62), *[b"\x01"] * 7, NIL)), "OverflowError"),
    ("a time of a fold of 2", extension(codes.TIME, array(*[b"\x00"] * 4, b"\x02", NIL)), "fold"),
    ("a duration after the longest", extension(codes.TIMEDELTA, array(number(1 << 62), b"\x00", b"\x00")),
     "OverflowError"),
    ("an offset of many days", extension(codes.TIMEZONE, array(number(1 << 50))), "offset must be"),
    ("a zone that is a path", extension(codes.ZONEINFO, text("../../etc/passwd")), "not the name of a time zone"),
    ("a zone of a long name", lambda size: extension(codes.ZONEINFO, text("A" * size)), "extension type 15 of"),
    # Text
    ("surrogates, and what is no text at the end",
     lambda size: extension(codes.TEXT, b"\xed\xa0\x80" * (size // 3) + b"\xff"), "not a text in UTF-8", MIB, WALKED),
    ("text that is no UTF-8 at its end", lambda size: text(b"x" * size + b"\xff"), _NO_VALUE),
    ("a UUID of a mebibyte", lambda size: extension(codes.UUID, bytes(size)), "16-char"),
    ("a path of no system", lambda size: extension(codes.PATH, array(text("\x01" * size), text("x"))),
     "not the flavour of a path"),
    ("a factory that is none", lambda size: extension(codes.DEFAULT_DICT, array(text("\x01" * size))), "not a factory"),
    # Classes
    ("a class of an endless name", lambda size: instance("\x01" * size, NIL), "is not registered"),
    ("an endless member of an enum", lambda size: instance("bombs.Colour", text("\x01" * size)), "has no member"),
    ("an endless name of an attribute",
     lambda size: instance("bombs.Node", mapping(text("__" + "\x01" * size + "__"), NIL)),
     "is no name of an attribute"),
    ("a class of the system", instance("os.system", text("true")), "os.system is not registered"),
    # numpy
    ("an array of objects", ndarray(text("|O"), 1, data=bytes(8)), "not a numpy dtype"),
    ("an array of an element of 2 GiB", ndarray(text("|S2147483648"), 0), "dtype|understood|not"),
    ("an array of arrays of 2**40 elements",
     ndarray(array(text("<f8"), array(number(1 << 20), number(1 << 20))), 1, data=bytes(8)), "dtype|fit"),
    ("an array of 300 fields at one place", ndarray(fields_of(300, text("<f8")), 1 << 40, data=bytes(8)), "do not fit"),
    ("an array of records in records", ndarray(nested_dtype(20), 1), "not a numpy dtype"),
    # Exceptions
    ("an exception with a chain of 100,000",
     lambda size: extension(codes.EXCEPTION, array(*[record("ValueError", cause=at + 1) for at in range(size)])), _MANY,
     DEEP, WALKED),
    ("groups that stand in each other 2**40 times",
     extension(codes.EXCEPTION, array(*_groups(40, times=2))),
     "stand in each other too often"),
    # What is no message at all
    ("a byte that begins nothing", lambda size: b"\xc1" * size, _NO_VALUE),
    ("an extension value that nobody knows", lambda size: extension(99, binary(bytes(size))), "type 99 is unknown"),
    ("a time of msgpack's own", b"\xd6\xff" + bytes(4), "type -1 is unknown"),
    ("gzip", lambda size: gzip.compress(bytes(64 * size), mtime=0), ""),
    ("pickle", pickle.dumps(Colour.RED), ""),
]  # fmt: skip

_ERRORS: list[tuple[Any, ...]] = [
    ("an error with a chain of 100,000",
     lambda size: report([record("ValueError", cause=at + 1) for at in range(size)]), _MANY, DEEP, WALKED),
    ("an error of groups that stand in each other 2**40 times",
     report(_groups(40, times=2)),
     "stand in each other too often"),
    ("an error of 160 groups in each other",
     lambda size: report(_groups(160, times=1, fields={"s": text("x" * size)})),
     "stand in each other too often"),
    ("an error of more links than there are",
     report([record("ValueError", cause=at + 1, fields={"s": text("x" * 1000)}) for at in range(1001)]), "no records",
     MIB, WALKED),
    ("an error that points a billion columns to the right",
     report([record("SyntaxError", fields=_FAR_AWAY)]),
     ""),
    ("an error whose traceback is a list of numbers", report([record("ValueError")], b"\x01"), "no error"),
    ("an error without records", report([]), "no records"),
]  # fmt: skip

_JSON: list[tuple[Any, ...]] = [
    ("JSON: 100,000 lists in each other", lambda size: b"[" * size, "RecursionError", DEEP),
    ("JSON: 100,000 objects in each other", lambda size: b'{"a":' * size, "RecursionError", DEEP),
    ("JSON: a million empty lists", lambda size: b"[" + b"[]," * size + b"1]", _MANY, MIB, WALKED),
    ("JSON: brackets, and a text that never ends", lambda size: b"[" * 260_000 + b'\\"' * (size // 2), _MANY, MIB,
     WALKED),
    ("JSON: a number of a million digits", lambda size: b"1" * size, "digits"),
    ("JSON: NaN", b"NaN", "not JSON"),
    ("JSON: an endless tag", lambda size: b'{"$":"' + b"x" * size + b'","v":1}', "the tag"),
    ("JSON: bytes that are none", lambda size: b'{"$":"bytes","v":"' + b"?" * size + b'"}', "base64"),
    ("JSON: a range of huge numbers",
     lambda size: b'{"$":"range","v":[0,' + b",".join([b'{"$":"int","v":"%s"}' % (b"AQEB" * (size // 8))] * 2) + b"]}",
     "at most 8,192 bits", 32 * 1024),
    ("JSON: keys of one hash", b'{"$":"set","v":[' + b",".join(b"%d" % (at * _MERSENNE) for at in range(200)) + b"]}",
     "same hash"),
]  # fmt: skip

_OWN = Hello().to_bytes()
_HELLOS: list[tuple[Any, ...]] = [
    ("hello: lists in each other", b"[" * 4096, "not JSON"),
    ("hello: objects in each other", b'{"a":' * 800, "not JSON"),
    ("hello: a number of 4,000 digits", b'{"versions":[1,%s]}' % (b"9" * 4000), "versions"),
    ("hello: a number beyond all bounds", _OWN.replace(b'"calls":0', b'"calls":1e999'), "calls"),
    ("hello: a grant of 2**32 calls", _OWN.replace(b'"calls":0', b'"calls":4294967296'), "calls"),
    ("hello: a grant below nothing", lambda size: _OWN.replace(b'"size":0', b'"size":-1'), "size"),
    ("hello: a grant of NaN", lambda size: _OWN.replace(b'"size":0', b'"size":NaN'), "NaN is no JSON"),
    ("hello: a grant of true", lambda size: _OWN.replace(b'"size":0', b'"size":true'), "size"),
    ("hello: a field twice", lambda size: _OWN.replace(b'"size":0', b'"size":0,"size":1'), "twice"),
    ("hello: a thousand names, one of them a list",
     b'{"versions":[1,1],"serializers":[%s,[]]}' % b",".join([b'"a"'] * 1000), "serializers"),
    ("hello: a name that forges a line in the log", _OWN.replace(b'"msgpack"', b'"x\\n2024 root logged in"'),
     "serializers"),
    ("hello: bytes that are no text", b"\xff" * 4096, "not JSON"),
    ("hello: pickle", pickle.dumps(Colour.RED), "not JSON"),
]  # fmt: skip


def _metadata(packed: bytes, length: int | None = None) -> bytes:
    return (len(packed) if length is None else length).to_bytes(4, "big") + packed


_METADATA: list[tuple[Any, ...]] = [
    ("metadata: 4 GiB announced", _metadata(b"\x80", 0xFFFF_FFFF), "metadata of 4294967295"),
    ("metadata: longer than what comes", _metadata(b"\x80", 100), "metadata of 100 bytes"),
    ("metadata: longer than allowed", _metadata(mapping(text("k"), binary(bytes(METADATA_LIMIT)))), "metadata of 16"),
    ("metadata: lists in each other", _metadata(b"\x81\xa1k" + b"\x91" * 16_000 + NIL), "no map"),
    ("metadata: 4 billion entries announced", _metadata(b"\xdf\xff\xff\xff\xff"), "no map"),
    ("metadata: extension values", _metadata(mapping(text("k"), extension(1, b"\x90"))), "no map"),
    ("metadata: keys that are no texts", _metadata(b"\x81\x01\x01"), "no map"),
    ("metadata: a list", _metadata(array(NIL)), "no map"),
    ("metadata: cut off", b"\x00\x00", "cut off"),
]  # fmt: skip

_TABLES = {"value": _VALUES, "error": _ERRORS, "json": _JSON, "hello": _HELLOS, "metadata": _METADATA}

BOMBS: list[Bomb] = [Bomb(way, *row) for way, rows in _TABLES.items() for row in rows]
"""All payloads that are one message. Sequences of frames are in `live.FLOODS`."""

BY_NAME: dict[str, Bomb] = {bomb.name: bomb for bomb in BOMBS}
