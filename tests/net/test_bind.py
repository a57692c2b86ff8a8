from __future__ import annotations

import os
import socket

import pytest

from gpyro.errors import DaemonError
from gpyro.net import bind as binding
from gpyro.net.bind import bind
from gpyro.settings import Config
from tests.support import IPV6

SETTINGS = Config({}).snapshot()


def taken(family=socket.AF_INET, host="127.0.0.1"):
    sock = socket.socket(family)
    sock.bind((host, 0))
    sock.listen()
    return sock, sock.getsockname()[1]


def free_run(length):
    """The first of some ports that follow each other and are free."""
    for _ in range(200):
        sock, first = taken()
        sock.close()
        socks = []
        try:
            for port in range(first, first + length):
                sock = socket.socket()
                socks.append(sock)
                sock.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        else:
            return first
        finally:
            for sock in socks:
                sock.close()
    raise AssertionError("no free ports")


def bound(host="", port=0, norange=True, publish=None, **changes):
    made = bind(host, port, norange, publish, SETTINGS.replace(**changes))
    made.sock.close()
    if made.unix is not None:
        made.unix.remove()
    return made


def test_nothing_said_is_loopback():
    made = bind("", 0, True, None, SETTINGS)
    assert made.sock.getsockname()[0] == "127.0.0.1"
    assert made.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert made.sock.getblocking() is False
    assert made.hostname == "127.0.0.1"
    assert made.port == made.sock.getsockname()[1] > 0
    made.sock.close()


@pytest.mark.parametrize(
    ("host", "hostname"), [("localhost", "localhost"), ("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")]
)
def test_a_host_stands_in_uris_as_given(host, hostname):
    assert bound(host).hostname == hostname


@IPV6
def test_ipv6():
    made = bound("::1")
    assert made.sock.family == socket.AF_INET6
    assert made.hostname == "::1"


@IPV6
def test_ipv6_does_not_take_ipv4s_port():
    made = bind("::", 0, True, None, SETTINGS.replace(PYRO_ALLOW_OPEN=True))
    other = socket.socket()
    other.bind(("0.0.0.0", made.port))
    other.close()
    made.sock.close()


@pytest.mark.parametrize(
    ("host", "exposed"),
    [
        *(("", ""), ("127.0.0.1", ""), ("0.0.0.0", "0.0.0.0")),
        *(pytest.param("::1", "", marks=IPV6), pytest.param("::", "::", marks=IPV6)),
    ],
)
def test_what_can_be_reached_from_elsewhere_is_told(host, exposed):
    made = bound(host)
    assert made.exposed == exposed
    made.sock.close()


def test_a_wide_bind_publishes_the_machines_name():
    assert bound("0.0.0.0").hostname == socket.gethostname()


def test_what_uris_say_can_be_given():
    assert bound("", publish="public.example").hostname == "public.example"
    assert bound("0.0.0.0", publish="public.example").hostname == "public.example"


@pytest.mark.parametrize(("host", "publish"), [("bad host", None), ("", "bad host"), ("[::1", None)])
def test_a_malformed_host_is_a_clear_error(host, publish):
    with pytest.raises(DaemonError, match=r"Couldn't start Pyro daemon: .*(bad host|::1)"):
        bound(host, publish=publish)


def test_an_unresolvable_host_is_named():
    with pytest.raises(DaemonError, match=r"cannot resolve host 'no-such-host\.invalid'"):
        bound("no-such-host.invalid")


def test_an_address_of_another_machine_is_a_clear_error():
    with pytest.raises(DaemonError, match=r"203\.0\.113\.9 port \d+: Cannot assign"):
        bound("203.0.113.9", 4000)


def test_exactly_this_port_or_an_error_that_names_it():
    sock, port = taken()
    with pytest.raises(DaemonError, match=f"port {port}: Address already in use"):
        bound(port=port)
    sock.close()
    assert bound(port=port).port == port


def test_the_next_free_port_of_the_range_is_taken():
    first = free_run(3)
    socks = [bind("", first + step, True, None, SETTINGS) for step in (0, 1)]
    assert bound(port=first, norange=False).port == first + 2
    with pytest.raises(DaemonError, match=f"ports {first} to {first + 1}: Address already in use"):
        bound(port=first, norange=False, PYRO_PORT_RANGE=2)
    for made in socks:
        made.sock.close()


def test_no_port_given_is_the_configured_one():
    first = free_run(2)
    assert bound(norange=False, PYRO_PORT=first).port == first


def test_a_port_that_shows_to_be_in_use_only_when_listening_is_passed_over(monkeypatch):
    first = free_run(2)
    made = []

    class Late:
        """A socket whose first port is taken by another between bind and listen."""

        def __init__(self, family):
            self.sock = socket.socket(family)
            made.append(self.sock)

        def __getattr__(self, name):
            return getattr(self.sock, name)

        def listen(self, backlog):
            if self.sock.getsockname()[1] == first:
                raise OSError(98, "Address already in use")
            self.sock.listen(backlog)

    monkeypatch.setattr(binding, "new_socket", Late)
    assert bound(port=first, norange=False).port == first + 1
    for sock in made:
        sock.close()


@pytest.mark.parametrize("port", [-1, 65536, 1_000_000])
def test_an_impossible_port(port):
    with pytest.raises(DaemonError, match=f"port {port} is not from 0 to 65535"):
        bound(port=port)


def test_a_range_ends_with_the_last_port():
    bound(port=65535, norange=False)


def test_a_port_that_a_closed_daemon_left_in_waiting_can_be_bound_again():
    made = bind("", 0, True, None, SETTINGS)
    client = socket.create_connection(("127.0.0.1", made.port))
    os.close(made.sock._accept()[0])
    made.sock.close()
    assert bound(port=made.port).port == made.port
    client.close()


def test_nothing_is_left_open_by_what_failed():
    before = os.listdir("/proc/self/fd")
    sock, port = taken()
    for arguments in ({"port": port}, {"host": "203.0.113.9"}, {"port": -1}, {"host": "./u:/no/such/folder/x"}):
        with pytest.raises(DaemonError):
            bound(**arguments)
    sock.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_unix_socket(tmp_path):
    made = bound(f"./u:{tmp_path}/x")
    assert made.port == 0
    assert made.unix is not None
    assert made.hostname == f"./u:{tmp_path}/x"
