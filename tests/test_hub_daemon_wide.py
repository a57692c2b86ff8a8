"""Daemons that can be reached from other machines need to know who connects."""

from __future__ import annotations

import pytest

from gpyro import core
from gpyro.errors import DaemonError
from gpyro.protocol import DefaultConnValidator
from gpyro.wire.frames import Kind, pack
from gpyro.wire.hello import Hello
from tests.net.peers import connection
from tests.provers import Thing


@pytest.fixture
def wide():
    daemon = core.Daemon(host="0.0.0.0", port=0, norange=1)
    daemon.connect(Thing())
    yield daemon
    daemon.closedown()


USES = {
    "requestLoop": lambda daemon: daemon.requestLoop(lambda: False),
    "start": lambda daemon: daemon.start(),
    "handleRequests": lambda daemon: daemon.handleRequests(0),
    "getServerSockets": lambda daemon: daemon.getServerSockets(),
}


@pytest.mark.parametrize("use", USES)
def test_a_wide_bind_without_passphrase_is_refused_with_the_ways_out(wide, use):
    with pytest.raises(DaemonError, match=r"bound to 0\.0\.0\.0, everybody") as caught:
        USES[use](wide)
    for way in ("setAllowedIdentifications", "setNewConnectionValidator", "host ''", "./u:/path", "PYRO_ALLOW_OPEN=1"):
        assert way in str(caught.value)


@pytest.mark.parametrize("use", USES)
def test_with_a_passphrase_it_is_not(wide, use):
    wide.setAllowedIdentifications(["open sesame"])
    USES[use](wide)


def test_nobody_is_answered_before(wide):
    with connection(wide.port) as sock:
        sock.sendall(b"gPyr" + pack(Kind.HELLO, body=Hello().to_bytes()))
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_a_running_wide_daemon_cannot_be_opened_to_everybody(wide):
    wide.setAllowedIdentifications(["open sesame"])
    wide.start()
    with pytest.raises(DaemonError, match="everybody"):
        wide.setAllowedIdentifications(None)
    with pytest.raises(DaemonError, match="everybody"):
        wide.setNewConnectionValidator(DefaultConnValidator())
    assert wide.getNewConnectionValidator().allowed is not None
