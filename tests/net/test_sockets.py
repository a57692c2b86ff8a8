from __future__ import annotations

import os
import socket

import pytest

from gpyro.net.sockets import (
    KEEPALIVE_COUNT,
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    adopt,
    literal,
    new_socket,
    origin_of,
    peer_credentials,
    set_options,
)
from tests.net.peers import bare_pair


@pytest.fixture
def tcp():
    sock = new_socket(socket.AF_INET)
    yield sock
    sock.close()


def option(sock, level, name):
    return sock.getsockopt(level, name)


def test_a_new_socket_neither_blocks_nor_is_inherited(tcp):
    assert tcp.getblocking() is False
    assert not os.get_inheritable(tcp.fileno())


def test_keepalive_and_no_delay_are_set(tcp):
    set_options(tcp, True)
    assert option(tcp, socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert option(tcp, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert option(tcp, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE
    assert option(tcp, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == KEEPALIVE_INTERVAL
    assert option(tcp, socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == KEEPALIVE_COUNT


def test_keepalive_can_be_left_out(tcp):
    set_options(tcp, False)
    assert option(tcp, socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not option(tcp, socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_no_user_timeout_is_set(tcp):
    # It would kill a live peer whose program does not read for a while.
    set_options(tcp, True)
    assert option(tcp, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_accepted_connections_inherit_the_options(tcp):
    set_options(tcp, True)
    tcp.bind(("127.0.0.1", 0))
    tcp.listen(1)
    client = socket.create_connection(tcp.getsockname())
    accepted = adopt(tcp, tcp._accept()[0])
    try:
        assert option(accepted, socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert option(accepted, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert option(accepted, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE
        assert accepted.getblocking() is False
        assert not os.get_inheritable(accepted.fileno())
    finally:
        accepted.close()
        client.close()


def test_a_unix_socket_tells_who_is_there_and_takes_no_tcp_options():
    left, right = bare_pair()
    try:
        set_options(left, True)
        assert peer_credentials(left) == (os.getpid(), os.getuid(), os.getgid())
    finally:
        left.close()
        right.close()


def test_a_tcp_socket_does_not_tell_who_is_there(tcp):
    assert peer_credentials(tcp) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", (socket.AF_INET, ("127.0.0.1", 7))),
        ("::1", (socket.AF_INET6, ("::1", 7, 0, 0))),
        ("fe80::1%3", (socket.AF_INET6, ("fe80::1", 7, 0, 3))),
        ("fe80::1%lo", (socket.AF_INET6, ("fe80::1", 7, 0, socket.if_nametoindex("lo")))),
        ("fe80::1%no-such-interface", None),
        ("127.1", None),
        ("0x7f000001", None),
        ("1.2.3.256", None),
        ("localhost", None),
        ("a:b", None),
    ],
)
def test_literals(host, expected):
    assert literal(host, 7) == expected


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("127.0.0.1", 5), "127.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 5, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
        (("::1", 5, 0, 0), "::1"),
        (("::ffff:192.0.2.7", 5, 0, 0), "192.0.2.7"),
        ("", ""),
        (b"/run/x", ""),
    ],
    ids=str,
)
def test_whom_an_address_stands_for(address, origin):
    assert origin_of(address) == origin
