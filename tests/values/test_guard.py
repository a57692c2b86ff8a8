from __future__ import annotations

import random
from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.testing.samples import SAMPLES, registry_of_samples
from gpyro.values import Limits, MsgpackSerializer, guard
from gpyro.values.codes import BIG_INT, TUPLE


def test_the_limits_are_the_documented_ones() -> None:
    limits = Limits()
    assert (limits.max_bytes, limits.max_containers, limits.max_hash_collisions) == (16 * 1024 * 1024, 250_000, 100)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"\xc0", 0),
        (b"\x90", 1),
        (b"\x92\x90\x80", 3),
        (b"\x81\xa1\x90\x91\x01", 2),
        (b"\xdc\x00\x02\x90\x90", 3),
        (b"\xdd\x00\x00\x00\x01\x80", 2),
        (b"\xde\x00\x01\xa1a\x80", 2),
        (b"\xdf\x00\x00\x00\x01\xa1a\x80", 2),
        (b"\xcb" + b"\x90" * 8, 0),
        (b"\xcc\x90\xcd\x90\x90\xce\x90\x90\x90\x90", 0),
        (b"\xd9\x02\x90\x90", 0),
        (b"\xda\x00\x02\x90\x90", 0),
        (b"\xdb\x00\x00\x00\x02\x90\x90", 0),
        (b"\xc4\x02\x90\x90", 0),
        (b"\xc5\x00\x02\x90\x90", 0),
        (b"\xc6\x00\x00\x00\x02\x90\x90", 0),
        (bytes((0xD4, TUPLE, 0x90)), 2),
        (bytes((0xC7, 2, TUPLE, 0x91, 0x90)), 3),
        (bytes((0xC8, 0, 2, TUPLE, 0x91, 0x90)), 3),
        (bytes((0xC9, 0, 0, 0, 2, TUPLE, 0x91, 0x90)), 3),
        (bytes((0xD8, BIG_INT, *[0x90] * 16)), 1),
        (b"\xc6\xff\xff\xff\xff", 0),
        (b"\xd9", 0),
        (b"\xd8", 1),
    ],
)
def test_containers_are_counted(body: bytes, count: int) -> None:
    assert guard.count_containers(body, 100) == count
    assert guard.container_bound(body) >= count


def test_counting_stops_at_the_limit() -> None:
    assert guard.count_containers(b"\x90" * 1_000, 10) == 11


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def test_the_depth_of_plain_values_is_found() -> None:
    from gpyro.values.packing import OPTIONS, packb

    chance = random.Random(3)

    def make(level: int) -> Any:
        kind = chance.randrange(5)
        if level > 8 or kind == 0:
            return chance.choice((1, "text", None, 2.5, b"bytes", "x" * 300, [], {}))
        if kind == 1:
            return {f"k{number}": make(level + 1) for number in range(chance.randrange(4))}
        return [make(level + 1) for _ in range(chance.randrange(4))]

    for _ in range(500):
        value = [make(0) for _ in range(5)]
        depth = depth_of(value)
        data = packb(value, None, OPTIONS)
        # An empty container has no level below itself, so the check may see one less.
        guard.check_depth(data, depth)
        if guard.container_bound(data) > depth - 2 > 0:
            with pytest.raises(SerializationError, match="deep"):
                guard.check_depth(data, depth - 2)


def test_short_messages_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = MsgpackSerializer(registry_of_samples())
    bodies = [codec.encode(sample) for sample in SAMPLES]

    def fail(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr("gpyro.values.msgpack_.check_message", fail)
    for body in bodies:
        if len(body) <= 250_000:
            codec.decode(body)


def test_many_containers_are_refused_before_they_are_made() -> None:
    codec = MsgpackSerializer()
    with pytest.raises(SerializationError, match="more than 250,000"):
        codec.decode(b"\xdd" + (1_000_000).to_bytes(4, "big") + b"\x90" * 1_000_000)
    with pytest.raises(SerializationError, match="result: the value holds more than 250,000"):
        codec.encode([[] for _ in range(250_001)])


def test_containers_inside_extension_values_count() -> None:
    codec = MsgpackSerializer()
    inner = b"\xdd" + (300_000).to_bytes(4, "big") + b"\x90" * 300_000
    body = b"\xc9" + len(inner).to_bytes(4, "big") + bytes((TUPLE,)) + inner
    with pytest.raises(SerializationError, match="more than 250,000"):
        codec.decode(body)


def test_large_messages_of_few_containers_pass() -> None:
    codec = MsgpackSerializer()
    for value in (
        [0.1 * number for number in range(100_000)],
        "漢" * 400_000,
        ["é"] * 200_000,
        bytes(range(256)) * 4_000,
    ):
        assert codec.decode(codec.encode(value)) == value
        assert codec.decode(memoryview(codec.encode(value))) == value


def test_a_long_message_is_refused_unseen() -> None:
    with pytest.raises(SerializationError, match="16,777,216"):
        MsgpackSerializer().decode(bytes(16 * 1024 * 1024 + 1))


def test_lengths_that_lie_take_no_memory() -> None:
    codec = MsgpackSerializer()
    for head in (b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"):
        with pytest.raises(SerializationError):
            codec.decode(head + b"\xff\xff\xff\xff\x01")


def test_keys_are_checked() -> None:
    guard.check_keys(list(range(5_000)), 1_000)
    guard.check_keys([0] * 1_000, 1_000)
    with pytest.raises(SerializationError, match="1,000 keys"):
        guard.check_keys([0] * 1_001, 1_000)
    with pytest.raises(TypeError):
        guard.check_keys([[]] * 1_001, 1_000)
