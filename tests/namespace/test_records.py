from __future__ import annotations

import pytest
from hypothesis import given

from gpyro.errors import StoreError
from gpyro.names import join, split
from gpyro.namespace.records import (
    GROUP,
    OBJECT,
    NameSpaceSystemMeta,
    Record,
    is_group,
    key_of,
    keys_below,
    keys_in,
    name_of,
    new_record,
    read_record,
)
from gpyro.store_contract import Entry
from tests.test_names import NAMES, PARTS

URI = "PYRO://host:7766/id"


@pytest.mark.parametrize(
    ("name", "key"), [(":", ":"), (":a", "::a"), (":a.b", ":a:b"), (":a.b.c", ":a.b:c"), (":a/.b", ":a/:b")]
)
def test_keys(name: str, key: str) -> None:
    assert key_of(name) == key
    assert name_of(key) == name


@given(NAMES, NAMES, PARTS)
def test_keys_tell_where_a_name_is(name: str, other: str, part: str) -> None:
    group, other = ":" + name, ":" + other
    assert name_of(key_of(group)) == group
    assert key_of(join(group, part)).startswith(keys_in(group))
    assert key_of(other).startswith(keys_in(group)) == (split(other)[0] == group)
    assert key_of(other).startswith(keys_below(group)) == other.startswith(group + ".")
    assert key_of(other).startswith(keys_below(":"))


def test_a_record_is_read_as_it_was_written() -> None:
    for system, meta in [
        (NameSpaceSystemMeta(12.5, None, OBJECT), b""),
        (NameSpaceSystemMeta(12.5, "me\n\xe4\ud800", OBJECT, 99.0), b"\n\0\xff\n"),
    ]:
        record = new_record(URI, system, meta)
        entry = Entry("::a", record.encode(), 1, 1)
        assert read_record(entry) == record
        assert record.type == OBJECT
        assert record.system_meta() == system
        assert record.meta == meta
        assert not is_group(entry)


def test_a_record_can_be_read_by_people() -> None:
    assert new_record(URI, NameSpaceSystemMeta(1.5, "me")).encode() == b'O %b\n{"timestamp": 1.5, "owner": "me"}\n' % (
        URI.encode()
    )
    group = new_record("", NameSpaceSystemMeta(1.5))
    assert group.encode() == b'G\n{"timestamp": 1.5}\n'
    assert group.type == GROUP
    assert is_group(Entry("::a", group.encode(), 1, 1))


@pytest.mark.parametrize("value", [b"", b"G", b"G\n", b"O\n{}\n", b"X y\n{}\n", b"Gx\n{}\n", b"O \xff\n{}\n"])
def test_what_is_no_record_is_told(value: bytes) -> None:
    with pytest.raises(StoreError, match=r"what is kept of ':a\.b' cannot be understood"):
        read_record(Entry(":a:b", value, 1, 1))


@pytest.mark.parametrize("system", [b"", b"[]", b"{}", b"\xff", b"5"])
def test_what_is_no_system_metadata_is_told(system: bytes) -> None:
    with pytest.raises(StoreError, match="system metadata that cannot be understood"):
        Record(URI, system, b"").system_meta()


def test_system_metadata_prints_as_it_always_did() -> None:
    assert str(NameSpaceSystemMeta(12.0, None, 1)) == "[type=1 timestamp=12.0 owner=None]"
    assert str(NameSpaceSystemMeta(12.0, "me", 0, 13.5)) == "[type=0 timestamp=12.0 owner=me seen=13.5]"
    assert Record("", b"", b"").type == GROUP
