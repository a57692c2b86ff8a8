"""Servers that do not prove who they are, at each step of the opening."""

from __future__ import annotations

import pytest

from gpyro import core
from gpyro.errors import ConnectionDeniedError
from gpyro.wire.frames import Kind, pack
from gpyro.wire.hello import SCRAM
from tests.provers import WELCOME, FakeServer, Thing, challenge_for
from tests.support import serving


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([WELCOME], "asks for no passphrase"),
        ([challenge_for, WELCOME], "asks for no passphrase"),
        ([challenge_for, pack(Kind.AUTHENTICATE, body=b"v=" + b"A" * 43 + b"=") + WELCOME], "did not prove"),
        ([challenge_for, pack(Kind.AUTHENTICATE, body=b"\xff") + WELCOME], "did not prove"),
        ([pack(Kind.AUTHENTICATE, body=b"nonsense")], "challenge is malformed"),
        ([lambda heard: challenge_for(heard, 1_000_001)], "more than 1000000 iterations"),
    ],
    ids=range(6),
)
def test_a_server_that_does_not_know_the_passphrase(answers, text):
    fake = FakeServer(answers)
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{fake.server.server_port}/x")
    proxy._setIdentification("open sesame")
    proxy._setTimeout(10)
    with pytest.raises(ConnectionDeniedError, match=text):
        proxy.echo(1)
    assert b"sesame" not in fake.heard
    fake.server.stop()


def test_a_server_that_does_not_wait_for_the_proof(caplog):
    fake = FakeServer(
        [lambda heard: challenge_for(heard, 1_000_000) + pack(Kind.AUTHENTICATE, body=b"v=AAAA") + WELCOME]
    )
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{fake.server.server_port}/x")
    proxy._setIdentification("open sesame")
    proxy._setTimeout(10)
    with pytest.raises(ConnectionDeniedError, match="did not wait for the proof"):
        proxy.echo(1)
    assert "unexpected" not in caplog.text
    fake.server.stop()


def test_a_malformed_challenge_is_an_error_and_nothing_else(capfd):
    """gevent prints what is raised in a thread of its pool."""
    fake = FakeServer([pack(Kind.AUTHENTICATE, body=b"nonsense")])
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{fake.server.server_port}/x")
    proxy._setIdentification("open sesame")
    with pytest.raises(ConnectionDeniedError):
        proxy.echo(1)
    assert capfd.readouterr().err == ""
    fake.server.stop()


@pytest.fixture
def served():
    obj = Thing()
    with serving(obj) as daemon:
        yield daemon, obj


def test_an_identification_does_not_go_to_another_address(served, caplog):
    daemon, obj = served
    fake = FakeServer([WELCOME])
    daemon.setAllowedIdentifications(["open sesame"])
    proxy = daemon.getProxyForObj(obj)
    proxy._setIdentification("open sesame")
    proxy.URI = f"PYRO://127.0.0.1:{fake.server.server_port}/x"
    assert "is not used for" in caplog.text
    assert "sesame" not in caplog.text
    proxy.adapter.rebindURI(1)
    assert fake.heard.startswith(b"gPyr")
    assert SCRAM.encode() not in fake.heard
    proxy._release()
    fake.server.stop()
