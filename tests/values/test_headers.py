"""What is told of a message by its headers, against what a decoder makes of it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gpyro.testing.samples import SAMPLES, registry_of_samples
from gpyro.values import MsgpackSerializer
from gpyro.values.codes import BIG_INT, RAW_CODES, TUPLE
from gpyro.values.headers import container_bound, containers, count_containers, is_deeper, most_in_each_other
from gpyro.values.packing import unpackb


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
    assert count_containers(body, 100) == count
    assert container_bound(body) >= count


def test_counting_stops_at_the_limit() -> None:
    assert count_containers(b"\xd4\x01\x90" * 1_000_000, 10) < 100_000
    assert count_containers(b"\xdd\x00\x00\xff\xff" * 1_000, 10) == 11


def test_samples_are_counted_exactly() -> None:
    for sample in SAMPLES:
        body = MsgpackSerializer(registry_of_samples()).encode(sample)
        truth = Truth(body)
        assert count_containers(body, 1 << 30) == truth.containers
        for limit in (max(0, truth.depth - 1), truth.depth, truth.depth + 1):
            assert is_deeper(body, limit) == (truth.depth > limit)


class Truth:
    """What a decoder that follows a message comes across.

    Attributes:
        containers: how many it makes.
        depth: how deep they stand; empty ones are no level.
        most: the most bytes of payloads of extension values that it has at a time.
    """

    def __init__(self, body: bytes) -> None:
        self.containers = self.most = self._together = 0
        self.depth = self._level(unpackb(body, ext_hook=self._extension))

    def _extension(self, code: int, payload: bytes) -> Any:
        self.containers += 1
        if code in RAW_CODES:
            return None
        self._together += len(payload)
        self.most = max(self.most, self._together)
        inner = unpackb(payload, ext_hook=self._extension)
        self._together -= len(payload)
        return Payload(inner)

    def _level(self, value: Any) -> int:
        if isinstance(value, Payload):
            return 1 + self._level(value.value)
        if isinstance(value, (list, dict)):
            self.containers += 1
            members = value.values() if isinstance(value, dict) else value
            return max((1 + self._level(member) for member in members), default=0)
        return 0


class Payload:
    def __init__(self, value: Any) -> None:
        self.value = value


# Values that are no containers and hold what looks like headers.
OTHERS = (
    *(b"\x05", b"\xc0", b"\xa3abc", b"\xd9\x02\xc3\x90", b"\xc4\x02\xc9\x91", b"\xcb" + b"\xc9" * 8, b"\xc4\x00"),
    *(b"\xcd\xc9\xc8", b"\xd2\xdd\xdd\xdd\xdd", b"\xa2\xc3\x90", b"\xc5\x00\x03\xdc\x90\x90", b"\xce\x00\x00\x90\x90"),
)
# What a decoder does not look at, behind the value of an extension value.
IGNORED = (
    *(b"", b"\x01", b"\x90", b"\xc6\x00\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x07", b"\xc1"),
    *(
        b"\xcf",
        b"\xbf\x01",
        b"\xdd",
        b"\xdd\x00\x00\x00",
        b"\xd8",
        b"\xd8\x01",
        b"\xd4",
        b"\xc7\x20\x01",
        b"\xdf\xff\xff\xff\xff",
    ),
)


def some_message(chance: random.Random, level: int = 0, ignored: bool = True) -> bytes:
    """A message that a decoder can read, in which much looks like something else."""
    kind = chance.randrange(8)
    if level > 5 or kind < 2:
        return chance.choice(OTHERS)
    members = [some_message(chance, level + 1, ignored) for _ in range(chance.randrange(4))]
    if kind < 5:
        small, wide = (0x90, 0xDC) if kind < 4 else (0x80, 0xDE)
        heads = [bytes((wide + at, *bytes(2 * at + 1), len(members))) for at in (0, 1)]
        heads.append(bytes((small | len(members),)))
        names = [b"\xa2%02d" % at if kind == 4 else b"" for at in range(len(members))]
        return chance.choice(heads) + b"".join(name + member for name, member in zip(names, members, strict=True))
    code = TUPLE
    if kind < 6:
        code, payload = BIG_INT, chance.choice((b"\x90", b"\xdd\xff", b"\xc6\xff\xff\xff\xff", bytes(8)))
    else:
        payload = some_message(chance, level + 1, ignored) + (chance.choice(IGNORED) if ignored else b"")
    heads = [b"\xc9" + len(payload).to_bytes(4, "big"), b"\xc8" + len(payload).to_bytes(2, "big")]
    if len(payload) < 256:
        heads.append(bytes((0xC7, len(payload))))
    if len(payload) in (1, 2, 4, 8, 16):
        heads.append(bytes((0xD4 + len(payload).bit_length() - 1,)))
    return chance.choice(heads) + bytes((code,)) + payload


@pytest.mark.parametrize("seed", range(20))
def test_what_a_decoder_ignores_leads_nobody_astray(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        body = b"\x93" + b"".join(some_message(chance) for _ in range(3)) + chance.choice(IGNORED)
        truth = Truth(body)
        assert container_bound(body) >= count_containers(body, 1 << 30) >= truth.containers
        assert most_of(body) >= truth.most - 16  # the payloads of some that hold no others are not looked at
        assert [is_deeper(body, limit) for limit in range(20)] == [truth.depth > limit for limit in range(20)]


@pytest.mark.parametrize("seed", range(20))
def test_of_what_honest_peers_send_all_is_exact(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        body = b"\x93" + b"".join(some_message(chance, ignored=False) for _ in range(3))
        truth = Truth(body)
        assert count_containers(body, 1 << 30) == truth.containers
        assert truth.most - 16 <= most_of(body) <= truth.most


def most_of(body: bytes) -> int:
    """The most bytes of payloads in each other, by the exact way, which only large messages go."""
    most = together = 0
    around: list[tuple[int, int]] = []
    for _, start, size in containers(body):
        while around and around[-1][0] <= start:
            together -= around.pop()[1]
        if size:
            around.append((start + size, size))
            together += size
        most = max(most, together)
    return most


def test_large_payloads_are_found_whatever_is_around_them() -> None:
    chance = random.Random(5)
    for _ in range(20):
        body = b"\xc6" + (70_000).to_bytes(4, "big") + chance.choice((b"\xc9", b"\x00", b"\x90")) * 70_000
        for _ in range(chance.randrange(1, 6)):
            parts = [some_message(chance) for _ in range(3)]
            parts.insert(chance.randrange(4), body)
            payload = b"\x94" + b"".join(parts) + chance.choice(IGNORED)
            body = b"\xc9" + len(payload).to_bytes(4, "big") + bytes((TUPLE,)) + payload
        truth = Truth(body)
        for stop in (0, truth.most // 2, truth.most - 5_000):  # less than that is too small to be looked at
            assert most_in_each_other(body, stop) > stop
        assert most_in_each_other(body, 2 * truth.most) <= 2 * truth.most


def test_malformed_messages_come_to_an_end() -> None:
    chance = random.Random(6)
    for _ in range(3_000):
        body = bytearray(some_message(chance) + some_message(chance))
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        body = body[: chance.randrange(len(body) + 1)]
        assert count_containers(bytes(body), 1 << 30) <= container_bound(body)
        assert is_deeper(bytes(body), 5) in (True, False)
        assert most_in_each_other(bytes(body), 0) >= 0
