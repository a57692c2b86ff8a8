from __future__ import annotations

from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.values import Limits, MsgpackSerializer, Registry
from gpyro.values.serializer import check_call


@pytest.mark.parametrize("call", [["m", [], {}], ["m", (1,), {"a": 1}]])
def test_calls(call: list[Any]) -> None:
    assert check_call(call) == tuple(call)


@pytest.mark.parametrize("call", [None, ("m", [], {}), ["m", []], [1, [], {}], ["m", "", {}], ["m", [], {1: 1}]])
def test_what_is_no_call(call: Any) -> None:
    with pytest.raises(SerializationError, match="no call"):
        check_call(call)


def test_an_error_that_is_too_large_arrives_with_its_name_and_the_beginning_of_its_text() -> None:
    codec = MsgpackSerializer(Registry(), Limits(max_bytes=10_000))
    error = codec.decode_error(codec.encode_error(ValueError("x" * 50_000, "y"), ["line\n"] * 50_000))
    assert type(error) is ValueError
    assert str(error).startswith("('xxx")
    assert error.remote_stacktrace[0].endswith("line\n")


def test_an_error_without_traceback_gets_no_note() -> None:
    codec = MsgpackSerializer(Registry())
    error = codec.decode_error(codec.encode_error(ValueError(1), []))
    assert error.remote_stacktrace == []
    assert not hasattr(error, "__notes__")
