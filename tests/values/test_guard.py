from __future__ import annotations

import random
from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.testing.samples import SAMPLES, registry_of_samples
from gpyro.values import Limits, MsgpackSerializer, guard, headers
from gpyro.values.codes import TUPLE


def test_the_limits_are_the_documented_ones() -> None:
    limits = Limits()
    assert (limits.max_bytes, limits.max_containers, limits.max_hash_collisions) == (16 * 1024 * 1024, 250_000, 100)


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
        if headers.container_bound(data) > depth - 2 > 0:
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


def in_each_other(data: bytes, levels: int, code: int = TUPLE, before: bytes = b"\x91") -> bytes:
    for _ in range(levels):
        payload = before + data
        data = b"\xc9" + len(payload).to_bytes(4, "big") + bytes((code,)) + payload
    return data


def binary(size: int) -> bytes:
    return b"\xc6" + size.to_bytes(4, "big") + bytes(size)


def test_large_values_may_stand_in_each_other_but_not_too_deep() -> None:
    codec = MsgpackSerializer(limits=Limits(max_bytes=1_000_000))
    value: Any = bytes(900_000)
    for _ in range(8):
        value = (value,)
    assert codec.decode(codec.encode(value)) == value
    deeper = in_each_other(binary(900_000), 9)
    with pytest.raises(SerializationError, match=r"stand in each other would take more than 8,000,000 bytes"):
        codec.decode(deeper)
    with pytest.raises(SerializationError, match=r"^args: values that stand in each other"):
        codec.encode_call("echo", ((value,),), {})


def test_small_values_may_stand_in_each_other_up_to_the_depth_that_is_guaranteed() -> None:
    codec = MsgpackSerializer()
    value: Any = bytes(1_000_000)
    for number in range(100):
        value = (value, number)
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("before", [b"\x92\xcd\x01\xc9", b"\x92\xcc\xc9", b"\x92\xa1\xc9", b"\x92\xce\xc9\xc9\x00\x01"])
def test_what_looks_like_a_header_hides_none(before: bytes) -> None:
    with pytest.raises(SerializationError, match="stand in each other"):
        guard.check_message(in_each_other(binary(1_000_000), 150, before=before), Limits())


@pytest.mark.parametrize("code", [TUPLE, 28, 99, 255])
def test_unknown_values_in_each_other_count_like_others(code: int) -> None:
    with pytest.raises(SerializationError, match="stand in each other"):
        guard.check_message(in_each_other(binary(1_000_000), 150, code), Limits())


@pytest.mark.parametrize(
    "filling", [b"\xc9", b"\xc9\x00\x10\x00\x00\x01", b"\xc9\x00\xff", b"\xc9\x00\x10\x05\x06\x05"]
)
def test_bytes_that_look_like_headers_are_let_through(filling: bytes) -> None:
    value = (filling * (3_000_000 // len(filling)),)
    codec = MsgpackSerializer(limits=Limits(max_bytes=4_000_000))
    assert codec.decode(codec.encode(value)) == value


def test_so_few_bytes_can_go_over_no_limit() -> None:
    assert Limits().max_unchecked == 250_000
    limits = Limits(max_bytes=16 << 20, max_containers=1 << 40)
    data = in_each_other(b"\xc0", 408, before=b"")
    while len(data) < limits.max_unchecked:
        data = in_each_other(binary(len(data)), 408, before=b"")
    assert headers.most_in_each_other(data[: limits.max_unchecked], limits.max_copied) <= limits.max_copied


# What a decoder ignores: bytes behind the value of an extension value. Here they announce what would hide all the rest.
HIDING = [b"\xc6\x00\xff\xff\xff", b"\xdb\x00\xff\xff\xff", b"\xc9\x00\xff\xff\xff\x07", b"\xcf", b"\xbf", b"\xc1"]


def hiding(behind: bytes) -> bytes:
    return bytes((0xC7, 1 + len(behind), TUPLE, 0x90)) + behind


@pytest.mark.parametrize("behind", HIDING)
def test_what_is_ignored_hides_no_containers(behind: bytes) -> None:
    codec = MsgpackSerializer()
    assert codec.decode(b"\x92" + hiding(behind) + b"\x90") == [(), []]
    with pytest.raises(SerializationError, match="more than 250,000"):
        codec.decode(b"\xdd" + (1_000_001).to_bytes(4, "big") + hiding(behind) + b"\x90" * 1_000_000)
    body = b"\xdd" + (300_000).to_bytes(4, "big") + hiding(behind) * 300_000
    with pytest.raises(SerializationError, match="more than 250,000"):
        codec.decode(body)


@pytest.mark.parametrize("behind", HIDING)
def test_what_is_ignored_hides_no_copies(behind: bytes) -> None:
    with pytest.raises(SerializationError, match="stand in each other"):
        MsgpackSerializer().decode(b"\x92" + hiding(behind) + in_each_other(binary(1_000_000), 150))
    before = b"\x92" + hiding(behind)
    with pytest.raises(SerializationError, match="stand in each other"):
        MsgpackSerializer().decode(in_each_other(binary(1_000_000), 150, before=before))


@pytest.mark.parametrize("behind", HIDING)
@pytest.mark.parametrize("levels", [0, 3, 5])
def test_what_is_ignored_hides_no_depth(behind: bytes, levels: int) -> None:
    # Each of these has lists of 1,000 levels, for which unpacking takes half a megabyte of stack.
    deep = b"\xc0"
    for _ in range(100):
        deep = in_each_other(b"\x91" * 1_000 + deep, 1, before=b"")
    body = in_each_other(b"\x92" + hiding(behind) + deep, levels)
    with pytest.raises(SerializationError, match="nested deeper than PYRO_MAX_DEPTH"):
        MsgpackSerializer().decode(body)
