from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpyro.errors import SerializationError
from gpyro.testing.samples import (
    Access,
    Colour,
    Frozen,
    Level,
    Pair,
    Plain,
    Point,
    Word,
    registry_of_samples,
    same,
)
from gpyro.values import JsonSerializer, MsgpackSerializer, codes, pack_plain, unpack_plain
from gpyro.values.packing import OPTIONS, packb, take_raised

CODEC = MsgpackSerializer(registry_of_samples())
JSON = JsonSerializer(registry_of_samples())

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**66),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters()),
    st.text(st.characters(categories=["Cs", "Lu"])),
    st.binary(),
    st.builds(bytearray, st.binary()),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.sampled_from([*Colour, *Level, *Access, *Word, ..., Access.READ | Access.WRITE]),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
)
KEYS = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.dates(),
        st.builds(Frozen, st.text(), st.integers()), st.sampled_from([*Colour, *Level]),
    ),
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(st.text(), inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.sets(KEYS, max_size=4),
        st.builds(Point, st.integers(), inner),
        st.builds(Plain, inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(lambda member: ValueError(member, 1), inner),
    ),
    max_leaves=25,
)


# How many examples are tried: some of them each time.
SOME = pytest.mark.parametrize("examples", [100, pytest.param(400, marks=pytest.mark.long)])


@SOME
def test_any_value_arrives_as_what_it_was(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(VALUES)
    def check(value: Any) -> None:
        assert same(CODEC.decode(CODEC.encode(value)), value)
        assert same(JSON.decode(JSON.encode(value)), value)

    check()


def decodes_or_refuses(body: bytes) -> None:
    for codec in (CODEC, JSON):
        for decode in (codec.decode, codec.decode_call, codec.decode_error):
            try:
                decode(body)
            except SerializationError:
                continue


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(body: bytes) -> None:
    decodes_or_refuses(body)


@SOME
def test_any_payload_of_an_extension_type_is_a_value_or_refused(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(st.integers(1, 31), st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=10), max_leaves=12))
    def check(code: int, state: Any) -> None:
        payload = CODEC.encode(state)
        decodes_or_refuses(b"\xc9" + len(payload).to_bytes(4, "big") + bytes((code,)) + payload)

    check()


@SOME
def test_damaged_messages_are_a_value_or_refused(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(VALUES, st.data())
    def check(value: Any, data: Any) -> None:
        for codec in (CODEC, JSON):
            body = bytearray(codec.encode(value))
            for _ in range(data.draw(st.integers(1, 4))):
                body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
            decodes_or_refuses(bytes(body))

    check()


def wrap_ext(payload: bytes, code: int) -> bytes:
    return b"\xc9" + len(payload).to_bytes(4, "big") + bytes((code,)) + payload


def test_deep_forgeries_are_refused_even_on_a_small_stack() -> None:
    lists = b"\x91" * 1_000
    tuples = b"\xc0"
    for _ in range(3_000):
        tuples = wrap_ext(b"\x91" + tuples, codes.TUPLE)
    mixed = b"\xc0"
    for _ in range(30):
        mixed = wrap_ext(lists + mixed, codes.TUPLE)
    bodies = [tuples, mixed, b"\x91" * 100_000, b"\x81\xa1a" * 100_000, wrap_ext(b"\x91" * 100_000, codes.TUPLE)]
    failures: list[object] = []

    def decode() -> None:
        for body in bodies:
            try:
                failures.append(CODEC.decode(body))
            except SerializationError:
                continue
            except BaseException as error:
                failures.append(error)

    size = threading.stack_size(4 * 1024 * 1024)
    try:
        thread = threading.Thread(target=decode)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert not failures


def test_values_of_the_fast_codec_are_never_too_deep_for_the_receiver() -> None:
    value: Any = 1
    for _ in range(30):
        value = ([[value, []], {}],)
    assert same(CODEC.decode(CODEC.encode(value)), value)
    wide: Any = 1
    for _ in range(12):
        wide = (wide, [[]] * 500)
    assert same(CODEC.decode(CODEC.encode(wide)), wide)
    tree: Any = None
    for _ in range(12):
        tree = Point(1, [tree, tree])
    assert same(CODEC.decode(CODEC.encode(tree)), tree)


class ThrownIn(BaseException):
    pass


def test_what_is_thrown_into_a_hook_is_not_swallowed() -> None:
    class Waiting:
        pass

    def wait(_: object) -> object:
        raise ThrownIn

    registry = registry_of_samples()
    registry.register(Waiting, to_state=wait)
    with pytest.raises(ThrownIn):
        MsgpackSerializer(registry).encode([((Waiting(),),)])
    registry.register(Waiting, from_state=wait)
    codec = MsgpackSerializer(registry)
    body = codec.encode([((Waiting(),),)])
    with pytest.raises(ThrownIn):
        codec.decode(body)
    assert take_raised() is None


def test_a_plain_map() -> None:
    value = {"deadline": 1_500, "id": b"\x01", "trace": ["a", None, 1.5], "nested": {"a": True}}
    assert unpack_plain(pack_plain(value)) == value
    assert unpack_plain(memoryview(pack_plain(value))) == value
    for refused in ({1: 2}, {"a": (1,)}, {"a": {1}}, {"a": 2**70}, {"\ud800": 1}):
        with pytest.raises(SerializationError, match="metadata cannot be packed"):
            pack_plain(refused)
    for body in (b"", b"\xc1", b"\xd4\x01\x90", b"\x81\x01\x01", b"\x91" * 5_000):
        with pytest.raises(SerializationError, match="metadata cannot be unpacked"):
            unpack_plain(body)


def test_the_fast_codec_gets_ordinary_values_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(CODEC._walk, "tree", fail)
    value = [{"id": 196, "tags": ("a", {1}), "point": Point(1, [Level.LOW]), "when": 0.3, "raw": b"x"}, ValueError(1)]
    assert same(CODEC.decode(CODEC.encode(value)), value)
    assert CODEC.encode({"a": [1, "x"]}) == packb({"a": [1, "x"]}, None, OPTIONS)


def test_numpy_is_not_imported_unless_needed() -> None:
    code = (
        "import sys, gpyro.values as v; m = v.MsgpackSerializer(); m.decode(m.encode([(1, {2: 3})]))\n"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
