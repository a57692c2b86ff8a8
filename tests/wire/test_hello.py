from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro.errors import WireError
from gpyro.wire.frames import HELLO_LIMIT
from gpyro.wire.hello import AGENT, PROTOCOL_VERSION, Hello, choose_serializer, choose_version
from tests.wire.streams import SAME_CASES, attempt

LARGEST = 2**32 - 1

NUMBERS = ["calls", "size", "message", "sessions"]
LISTS = ["serializers", "capabilities"]


def body(**fields: Any) -> bytes:
    return json.dumps({"versions": [1, 1], **fields}).encode()


def refused(data: bytes) -> str:
    with pytest.raises(WireError) as caught:
        Hello.from_bytes(data)
    assert caught.value.rule == "H2"
    return str(caught.value)


# ---- what is right


@pytest.mark.parametrize(
    "hello",
    [
        Hello(),
        Hello((1, 9), ("msgpack", "json"), 1, 2, 3, 4, ("a", "b"), "agent/1"),
        Hello(calls=LARGEST, size=LARGEST, message=LARGEST, sessions=LARGEST),
        Hello(serializers=(), capabilities=()),
        Hello(versions=(1, 0xFFFF)),
    ],
)
def test_a_hello_arrives_as_it_was(hello: Hello) -> None:
    assert Hello.from_bytes(hello.to_bytes()) == hello


def test_an_ordinary_hello_is_far_from_the_limit() -> None:
    largest = Hello((1, 1), ("msgpack", "json", "pickle"), LARGEST, LARGEST, LARGEST, LARGEST, (), AGENT)
    assert len(largest.to_bytes()) < HELLO_LIMIT / 10
    assert largest.to_bytes().isascii()


def test_only_the_versions_have_to_be_there() -> None:
    hello = Hello.from_bytes(b'{"versions":[1,1]}')
    assert hello == Hello((1, 1), (), 0, 0, 0, 0, (), "")


def test_unknown_fields_are_ignored() -> None:
    assert Hello.from_bytes(body(colour={"a": [1, None, 1e99]}, auth=None)) == Hello.from_bytes(body())


def test_space_and_escapes_are_json_like_any_other() -> None:
    assert Hello.from_bytes(b' {"versions" :\n[ 1,\t1 ],"agent":"\\u0061"} ').agent == "a"


@pytest.mark.parametrize(
    ("agent", "shown"),
    [("a" * 200, "a" * 80), ("one\ntwo\x1b[31m\u202e", "one?two?[31m?"), ("\ud800", "?"), ("näh 🙂", "näh 🙂")],
)
def test_an_agent_is_made_fit_for_a_log(agent: str, shown: str) -> None:
    assert Hello.from_bytes(body(agent=agent)).agent == shown


# ---- what is wrong


@pytest.mark.parametrize(
    "data",
    [b"", b" ", b"{", b"}", b"{}x", b'{"versions":[1,1]}{}', b"{'versions':[1,1]}", b'{"versions":[1,1],}', b"\x00",
     b"\xff\xfe{", b'{"versions":[1,1],"agent":"\xff"}', b'{"versions":[1,1],"agent":"a\nb"}', b"gPyr", b"nul"],
)  # fmt: skip
def test_no_json(data: bytes) -> None:
    assert "not JSON" in refused(data)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_no_other_encoding_than_utf_8(encoding: str) -> None:
    assert "not JSON" in refused('{"versions":[1,1]}'.encode(encoding))


@pytest.mark.parametrize("data", [b"null", b"1", b"[]", b'"text"', b"true", b'[{"versions":[1,1]}]'])
def test_no_object(data: bytes) -> None:
    assert "not a JSON object" in refused(data)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["calls", "unknown"])
def test_constants_that_json_lacks(field: str, constant: str) -> None:
    assert f"{constant} is no JSON" in refused(b'{"versions":[1,1],"%s":%s}' % (field.encode(), constant.encode()))


@pytest.mark.parametrize(
    "data",
    [b'{"versions":[1,1],"versions":[1,1]}', b'{"versions":[1,1],"calls":0,"calls":9}',
     b'{"a":1,"versions":[1,1],"a":1}',
     b'{"versions":[1,1],"x":{"y":1,"y":2}}', b'{"versions":[1,1],"x":[{"\\u0079":1,"y":2}]}'],
)  # fmt: skip
def test_a_field_given_twice(data: bytes) -> None:
    assert "twice" in refused(data)


@pytest.mark.parametrize(
    "versions",
    [None, 1, "1,1", {}, [], [1], [1, 1, 1], [0, 1], [-1, 1], [2, 1], [1, 65536], [1, 10**400], [True, True],
     [1.0, 1.0], ["1", "1"], [1, None], [[1], [1]]],
)  # fmt: skip
def test_versions_that_are_no_range(versions: Any) -> None:
    assert "versions" in refused(json.dumps({"versions": versions}).encode())


def test_versions_missing() -> None:
    assert "versions" in refused(b"{}")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [-1, LARGEST + 1, 10**3000, 1.0, 1e3, True, False, None, "1", [], [1], {}, float("1e300")]
)
def test_numbers_that_are_none(name: str, value: Any) -> None:
    assert f"hello's {name} is not a number" in refused(body(**{name: value}))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, 1, LARGEST])
def test_the_ends_of_the_range(name: str, value: int) -> None:
    assert getattr(Hello.from_bytes(body(**{name: value})), name) == value


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "value",
    [None, 1, "msgpack", {}, {"msgpack": 1}, [1], [None], [["msgpack"]], ["msgpack", 1], [""], ["a" * 65], ["a\nb"],
     ["\x1b[31m"], ["ü"], ["\ud800"], ["a\u202eb"], ["\x7f"]],
)  # fmt: skip
def test_names_that_are_none(name: str, value: Any) -> None:
    assert f"hello's {name} is not a list of names" in refused(body(**{name: value}))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("value", [[], ["a"], ["a" * 64], ["a", "a"], ["x.y:z-1_2 3"], ["n"] * 500])
def test_names(name: str, value: list[str]) -> None:
    assert getattr(Hello.from_bytes(body(**{name: value})), name) == tuple(value)


@pytest.mark.parametrize("agent", [None, 1, True, [], ["a"], {}])
def test_an_agent_that_is_no_text(agent: Any) -> None:
    assert "agent" in refused(body(agent=agent))


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * HELLO_LIMIT,
        b'{"a":' * (HELLO_LIMIT // 5),
        b'{"versions":[1,1],"x":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"versions":[1,1],"calls":' + b"9" * 4000 + b"}",
        b'{"versions":[1,1],"calls":-' + b"9" * 4000 + b"}",
        b'{"versions":[' + b"1," * 2000 + b"1]}",
        b'{"versions":[1,1],"calls":1e' + b"9" * 4000 + b"}",
        b'{"versions":[1,1],"agent":"' + b"\\" * 4000,
    ],
)
def test_bombs_of_4_kib(bomb: bytes) -> None:
    assert len(bomb) <= HELLO_LIMIT
    tracemalloc.start()
    try:
        refused(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@SAME_CASES
@given(
    st.binary(max_size=100)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(["versions", "agent", *NUMBERS, *LISTS]), JSON | st.just([1, 2])).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_whatever_the_bytes_it_is_a_hello_or_a_wire_error(data: bytes) -> None:
    hello, error = attempt(Hello.from_bytes, data)
    if error is not None:
        assert error.rule == "H2"
        return
    low, high = hello.versions
    assert 0 < low <= high <= 0xFFFF
    assert all(0 <= getattr(hello, name) <= LARGEST for name in NUMBERS)
    assert Hello.from_bytes(hello.to_bytes()) == hello


# ---- choosing


@pytest.mark.parametrize(
    ("offered", "chosen"), [((1, 1), 1), ((1, 5), 1), ((2, 2), None), ((2, 0xFFFF), None), ((1, 0xFFFF), 1)]
)
def test_the_highest_common_version(offered: tuple[int, int], chosen: int | None) -> None:
    assert PROTOCOL_VERSION == 1
    assert choose_version(offered) == chosen


@pytest.mark.parametrize(
    ("offered", "accepted", "chosen"),
    [
        (("msgpack",), ("msgpack",), "msgpack"),
        (("pickle", "msgpack"), ("msgpack", "pickle"), "msgpack"),
        (("msgpack", "pickle"), ("pickle", "msgpack"), "pickle"),
        (("pickle",), ("msgpack",), None),
        ((), ("msgpack",), None),
        (("msgpack",), (), None),
        (("MSGPACK",), ("msgpack",), None),
    ],
)
def test_the_servers_order_decides(offered: tuple[str, ...], accepted: tuple[str, ...], chosen: str | None) -> None:
    assert choose_serializer(offered, accepted) == chosen
