from __future__ import annotations

import pytest

from gpyro.wire.foreign import ForeignProtocolError, recognise

HTTP = [b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "]


@pytest.mark.parametrize("first", HTTP)
def test_http_gets_an_answer_that_a_browser_shows(first: bytes) -> None:
    error = recognise(first)
    head, _, text = error.reply.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 400 Bad Request"
    assert b"Content-Length: %d" % len(text) in lines
    assert b"Connection: close" in lines
    assert b"gpyro" in text
    assert "HTTP" in str(error)


@pytest.mark.parametrize("version", [b"\x01", b"\x03", b"\x00"])
def test_an_ssl_client_gets_an_alert(version: bytes) -> None:
    error = recognise(b"\x16\x03" + version + b"\x02")
    assert error.reply == bytes.fromhex("15 0303 0002 02 46")
    assert "SSL" in str(error)


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (b"HTTP", "is an HTTP server"),
        (b"\x15\x03\x03\x00", "SSL alert"),
        (b"PYRO", "Pyro's own protocol"),
        (b"SSH-", "began with b'SSH-'"),
        (b"gPys", "does not speak gpyro"),
        (b"\x00\x00\x00\x00", "does not speak gpyro"),
        (b"get ", "does not speak gpyro"),
    ],
)
def test_others_are_named_and_get_no_answer(first: bytes, text: str) -> None:
    error = recognise(first)
    assert text in str(error)
    assert error.reply == b""


def test_it_is_a_breach_of_the_first_rule() -> None:
    error = recognise(b"abcd")
    assert isinstance(error, ForeignProtocolError)
    assert error.rule == "P1"
    assert str(error).endswith("[P1]")
