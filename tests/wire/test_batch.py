"""Batches as bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro.errors import WireError
from gpyro.wire import batch
from gpyro.wire.frames import Kind
from tests.wire.streams import SAME_CASES

BODIES = st.lists(st.binary(max_size=40), max_size=10)


@SAME_CASES
@given(BODIES)
def test_what_is_packed_comes_apart(bodies: list[bytes]) -> None:
    answers = [
        (int(kind), body) for kind, body in zip([Kind.RESULT, batch.SEVERAL, Kind.ERROR] * 4, bodies, strict=False)
    ]
    assert list(batch.split_answers(b"".join(batch.pack_answer(*answer) for answer in answers))) == answers


@SAME_CASES
@given(st.binary(max_size=100))
def test_any_bytes_are_answers_or_an_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        list(batch.split_answers(data))


@pytest.mark.parametrize("data", [b"\0", b"\x20\0\0\0\5abcd", b"\x20\xff\xff\xff\xff"])
def test_what_is_cut_off(data: bytes) -> None:
    with pytest.raises(WireError, match="cut off"):
        list(batch.split_answers(data))


def test_an_answer_of_another_kind() -> None:
    with pytest.raises(WireError, match="unknown kind"):
        list(batch.split_answers(batch.pack_answer(Kind.CALL, b"")))
