from __future__ import annotations

import pytest

from gpyro.wire.frames import (
    BODY_LIMITS,
    HEADER,
    HEADER_SIZE,
    HELLO_LIMIT,
    IGNORABLE,
    MAGIC,
    MAX_ID,
    MESSAGE,
    REFUSAL_TEXTS,
    SMALL_LIMIT,
    Kind,
    Refusal,
    kind_name,
    pack,
    pack_text,
    unpack_text,
)


def test_the_first_bytes() -> None:
    assert MAGIC == b"gPyr"
    assert HEADER_SIZE == HEADER.size == 16


def test_a_frame_is_header_and_body() -> None:
    data = pack(Kind.CALL, 0x01020304, 0x05060708, b"body", 0x81)
    assert data == bytes.fromhex("10810000 01020304 05060708 00000004") + b"body"


def test_a_frame_without_anything() -> None:
    assert pack(Kind.PING) == bytes.fromhex("34000000 00000000 00000000 00000000")


def test_the_largest_ids_fit() -> None:
    assert pack(Kind.CANCEL, MAX_ID, MAX_ID)[4:12] == b"\xff" * 8


def test_every_kind_has_a_limit_and_none_may_be_ignored() -> None:
    assert set(BODY_LIMITS) == set(Kind)
    assert all(kind < IGNORABLE for kind in Kind)
    assert all(limit == MESSAGE or 0 <= limit <= SMALL_LIMIT for limit in BODY_LIMITS.values())


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.WELCOME, Kind.AUTHENTICATE, Kind.REFUSED])
def test_what_comes_before_trust_is_small(kind: Kind) -> None:
    assert kind < Kind.OPEN
    assert BODY_LIMITS[kind] == HELLO_LIMIT == 4096


def test_names_of_kinds() -> None:
    assert kind_name(0x10) == "CALL"
    assert kind_name(Kind.GOAWAY) == "GOAWAY"
    assert kind_name(0x7F) == "kind 0x7f"
    assert kind_name(0) == "kind 0x00"


def test_every_refusal_has_a_text() -> None:
    assert set(REFUSAL_TEXTS) == set(Refusal)
    assert all(REFUSAL_TEXTS.values())


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, ""), (1, "server too busy"), (255, "näh 🙂"), (6, "two\nlines"), (7, "x" * (SMALL_LIMIT - 4))],
)
def test_code_and_text_arrive(code: int, text: str) -> None:
    data = pack_text(Kind.REJECTED, code, text, 5, 7)
    kind, flags, reserved, call_id, session_id, length = HEADER.unpack_from(data)
    assert (kind, flags, reserved, call_id, session_id) == (Kind.REJECTED, 0, 0, 5, 7)
    assert length == len(data) - HEADER_SIZE
    assert unpack_text(data[HEADER_SIZE:]) == (code, text)


@pytest.mark.parametrize("text", ["x" * 10_000, "ü" * 10_000, "x" + "ü" * 10_000, "🙂" * 10_000])
def test_a_long_text_is_cut_so_that_it_fits(text: str) -> None:
    body = pack_text(Kind.GOAWAY, 6, text)[HEADER_SIZE:]
    assert SMALL_LIMIT - 8 < len(body) <= SMALL_LIMIT
    code, shown = unpack_text(body)
    assert code == 6
    assert text.startswith(shown.rstrip("\ufffd"))


def test_a_text_that_is_no_unicode_is_sent_as_good_as_it_goes() -> None:
    assert unpack_text(pack_text(Kind.GOAWAY, 6, "a\ud800b")[HEADER_SIZE:]) == (6, "a?b")


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"", (0, "")), (b"\x05", (5, "")), (b"\xff\xfe", (255, "\ufffd")), (b"\x01a\xc3", (1, "a\ufffd"))],
)
def test_any_body_reads_as_code_and_text(body: bytes, expected: tuple[int, str]) -> None:
    assert unpack_text(body) == expected
