"""The table of references and RELEASE, as bytes."""

from __future__ import annotations

import contextlib
import random

import pytest

from gpyro.errors import WireError
from gpyro.wire import metadata
from gpyro.wire.frames import FLAG_METADATA, FLAG_REFERENCES, HEADER_SIZE, Kind
from gpyro.wire.references import (
    FUNCTION,
    MAX_REFERENCES,
    OBJECT,
    OWN,
    Table,
    pack_release,
    pack_table,
    split_table,
    unpack_release,
)


def frame(body, flags=FLAG_REFERENCES, session=3):
    return (int(Kind.CALL), flags, 1, session, body)


def test_a_table_arrives():
    entries = [(OBJECT, "a"), (FUNCTION, "b" * 255), (OWN, "a")]
    table = pack_table(3, entries)
    assert split_table(frame(table + b"value")) == Table(3, entries, len(table))
    assert split_table(frame(pack_table(0, []))) == Table(0, [], 6)
    # The bytes of the document.
    assert pack_table(3, [(FUNCTION, "f")]) == bytes.fromhex("0001 00000003 02 01 66")


def test_metadata_stand_in_front():
    table = pack_table(0, [(OWN, "x")])
    body = metadata.prepend({"id": "abc"}, table + b"value")
    assert split_table(frame(body, FLAG_METADATA | FLAG_REFERENCES)) == Table(0, [(OWN, "x")], len(table))


@pytest.mark.parametrize(
    ("body", "flags", "text"),
    [
        (b"", 0, "cut off"),
        (b"\0\1\0\0\0", 0, "cut off"),
        (b"\0\1\0\0\0\0", 0, "cut off"),
        (b"\0\1\0\0\0\0\1", 0, "cut off"),
        (b"\0\1\0\0\0\0\1\2x", 0, "cut off"),
        (b"\0\1\0\0\0\0\4\1x", 0, "kind 4"),
        (b"\0\1\0\0\0\0\1\0", 0, "no ASCII"),
        (b"\0\1\0\0\0\0\1\1\xff", 0, "no ASCII"),
        (b"\0\1\0\0\0\x09\1\1x", 0, "for session 9 on session 3"),
        (b"\0\2\0\0\0\0\1\1x\1\1x", 0, "twice"),
        (b"\xff\xff\0\0\0\0", 0, "over the limit of 1000"),
        (b"\0\0", FLAG_METADATA, "cut off"),
        (b"\0\0\xff\xff\0\0\0\0\0\0", FLAG_METADATA, "cut off"),
    ],
)
def test_what_is_no_table_is_a_breach(body, flags, text):
    with pytest.raises(WireError, match=text):
        split_table(frame(body, flags | FLAG_REFERENCES))


def test_a_table_has_a_limit():
    entries = [(OBJECT, str(number)) for number in range(MAX_REFERENCES)]
    assert len(split_table(frame(pack_table(0, entries))).entries) == MAX_REFERENCES
    with pytest.raises(WireError, match="limit"):
        split_table(frame(pack_table(0, [*entries, (OBJECT, "more")])))


def test_any_bytes_are_a_table_or_a_breach():
    chance = random.Random(1)
    whole = pack_table(3, [(OBJECT, "one"), (FUNCTION, "two"), (OWN, "three")])
    for _ in range(2_000):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] = chance.randrange(256)
        with contextlib.suppress(WireError):
            split_table(frame(bytes(damaged[: chance.randrange(len(whole) + 1)]), chance.choice([0x10, 0x11])))


def test_release_arrives_or_is_a_breach():
    release = pack_release(5, "id", 7)
    assert release == bytes.fromhex("32 00 0000 00000000 00000005 00000006 00000007 6964")
    assert unpack_release(release[HEADER_SIZE:]) == ("id", 7)
    for body in (b"", b"\0\0\0\1", b"\0\0\0\1" + b"x" * 256, b"\0\0\0\1\xff"):
        with pytest.raises(WireError):
            unpack_release(body)
