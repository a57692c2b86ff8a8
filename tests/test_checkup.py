"""The steps from a URI to its object: each way to fail ends in its step, with its text."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket

from gpyro import checkup
from gpyro.errors import TimeoutError
from gpyro.naming import NameServerProxy
from tests.doctors import SECRET, Thing, ask, listener, wait_for_end
from tests.naming import free_port, name_server
from tests.support import serving, uri_of

# ---- names


def test_a_name_is_found_by_searching_and_at_its_host(env):
    with name_server() as starter, serving(thing := Thing()) as daemon:
        daemon.useNameServer(NameServerProxy(starter.uri))
        starter.server.space.prepare([":Default"])
        uri = daemon.connect(thing, ":Default.thing")
        for name in ("thing", ":Default.thing", f"127.0.0.1:{starter.uri.port}/:Default.thing"):
            answer = ask(f"PYRONAME://{name}")
            assert answer.code == 0
            assert answer.statuses[0] == "ok"
            assert f":Default.thing stands for {uri}" in answer.steps["name"]["text"]
            assert re.search(rf"name server [a-z0-9.]+:{starter.uri.port}\)$", answer.steps["name"]["text"])
        daemon.useNameServer(None)


def test_names_that_lead_nowhere(env):
    with name_server() as starter:
        step, text = ask("PYRONAME://:nobody").failed
        assert (step, "name not found: ':nobody'" in text) == ("name", True)
        assert "nsc" in ask("PYRONAME://:nobody").hint
        step, text = ask("PYRONAME://:Pyro").failed
        assert (step, "attempt to resolve groupname" in text) == ("name", True)
        dead = f"PYRO://127.0.0.1:{free_port()}/x"
        starter.server.space.register(":dead", dead)
        answer = ask("PYRONAME://:dead")
        step, text = answer.failed
        assert step == "connect"
        assert dead in answer.steps["name"]["text"]
        assert "refused" in text
        starter.server.space.register(":other", "PYROLOC://127.0.0.1:9/x")
        assert ask("PYRONAME://:other").failed[0] == "connect"


def test_without_a_name_server_all_that_was_tried_is_told(env, tmp_path):
    answer = ask("PYRONAME://thing")
    step, text = answer.failed
    assert (step, text) == ("name", "there is no name server")
    tried = "\n".join(answer.steps["name"]["details"])
    for way in (f"localhost:{env['GPYRO_NS_PORT']}", f"the file {tmp_path}", "a broadcast to 127.255.255.255"):
        assert f"tried {way}" in tried
    assert "PYRO_NS_HOSTNAME" in answer.hint
    step, text = ask(f"PYRONAME://127.0.0.1:{free_port()}/thing").failed
    assert step == "name"
    assert "Connection refused" in text


def test_a_host_that_is_no_name_server(env):
    with serving(Thing()) as daemon:
        step, text = ask(f"PYRONAME://127.0.0.1:{daemon.port}/thing").failed
        assert step == "name"
        assert "no object found by this name" in text
    with listener(wait_for_end) as uri:
        port = uri.split(":")[2].split("/")[0]
        assert ask(f"PYRONAME://127.0.0.1:{port}/thing", seconds=1).failed[0] == "name"


def test_the_passphrase_of_a_name_server(env):
    with name_server(identification=SECRET) as starter:
        name = f"PYRONAME://127.0.0.1:{starter.uri.port}/:Pyro.NameServer"
        answer = ask(name)
        assert answer.failed[0] == "name"
        assert "--identification-file FILE" in answer.hint
        assert ask(name, passphrase=SECRET + "\n").code == 0
        assert ask(name, passphrase="wrong\n").failed[0] == "name"


def test_a_name_server_without_passphrase_is_asked_nevertheless(env):
    with name_server() as starter, serving(Thing(), "thing") as daemon:
        daemon.setAllowedIdentifications([SECRET])
        starter.server.space.register(":thing", f"PYROLOC://127.0.0.1:{daemon.port}/thing")
        answer = ask(f"PYRONAME://127.0.0.1:{starter.uri.port}/:thing", passphrase=SECRET)
        assert answer.code == 0
        assert answer.statuses[0] == "warning"
        assert "asks for no passphrase" in answer.steps["name"]["hint"]


# ---- addresses


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "to bind"),
        ("::", "to bind"),
        ("169.254.1.1", "link-local"),
        ("fe80::1%2", "link-local"),
        ("224.0.0.1", "multicast"),
        ("10.1.2.3", "private"),
        ("172.17.0.2", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("8.8.8.8", ""),
        ("2600::1", ""),
    ],
)
def test_what_is_said_of_addresses(address, what):
    said = checkup.remark(address)
    assert what in said
    assert bool(what) == bool(said)


def test_a_host_that_is_not_known(monkeypatch):
    def unknown(*arguments: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(gsocket, "getaddrinfo", unknown)
    answer = ask("PYRO://nowhere.example:7766/x")
    assert answer.failed == ("address", "the host 'nowhere.example' is not known: Name or service not known")
    assert "DNS" in answer.hint


def test_a_look_up_that_does_not_end(monkeypatch):
    monkeypatch.setattr(gsocket, "getaddrinfo", lambda *arguments: gevent.sleep(60))
    step, text = ask("PYRO://slow.example:7766/x", seconds=0.05).failed
    assert (step, "no answer" in text) == ("address", True)


# ---- time


@pytest.mark.parametrize("step", ["name", "object", "time"])
def test_a_step_that_does_not_end_says_what_to_do(monkeypatch, step):
    monkeypatch.setattr(checkup, "SLACK", 0.0)
    monkeypatch.setattr(checkup.Checkup, f"_{step}", lambda self: gevent.sleep(60))
    with serving(thing := Thing()) as daemon:
        answer = ask(str(uri_of(daemon, thing)), seconds=0.5)
    assert answer.failed == (step, "not over within 0.5 s")
    assert "--timeout" in answer.hint


def test_a_deadline_that_passes_in_a_step_says_what_to_do(monkeypatch):
    def late(self):
        raise TimeoutError("the deadline passed while waiting for an answer", "waiting")

    monkeypatch.setattr(checkup.Checkup, "_name", late)
    answer = ask("PYRONAME://:slow")
    assert answer.failed == ("name", "the deadline passed while waiting for an answer")
    assert "--timeout" in answer.hint


# ---- connecting


def test_a_port_where_nobody_listens():
    answer = ask(f"PYRO://127.0.0.1:{free_port()}/x")
    step, text = answer.failed
    assert (step, "refused after" in text) == ("connect", True)
    assert "PYRO_HOST" in answer.hint


def test_a_listener_whose_queue_is_full_does_not_answer():
    with socket.socket() as server, contextlib.ExitStack() as others:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):  # the system lets one or two in
            sock = others.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        answer = ask(f"PYRO://127.0.0.1:{server.getsockname()[1]}/x", seconds=0.3)
        step, text = answer.failed
        assert (step, "timed out after" in text) == ("connect", True)
        assert "firewall" in answer.hint


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENETUNREACH, "VPN"),
        (errno.EHOSTUNREACH, "firewall"),
        (errno.EADDRNOTAVAIL, "IPv6"),
        (errno.EAFNOSUPPORT, "IPv6"),
    ],
)
def test_unreachable(monkeypatch, code, hint):
    monkeypatch.setattr(checkup, "connect_one", lambda *arguments: code)
    answer = ask("PYRO://8.8.8.8:7766/x")
    step, text = answer.failed
    assert (step, "unreachable after" in text) == ("connect", True)
    assert hint in answer.hint


def test_a_link_local_address_without_its_interface(monkeypatch):
    monkeypatch.setattr(checkup, "connect_one", lambda *arguments: errno.EINVAL)
    answer = ask("PYRO://[fe80::1]:7766/x")
    assert answer.failed[0] == "connect"
    assert "%eth0" in answer.hint


def test_several_addresses(monkeypatch):
    found = {"127.0.0.1": 0, "127.0.0.2": errno.ECONNREFUSED, "127.0.0.3": errno.ETIMEDOUT}

    def resolve(order: list[str]) -> Callable[..., Any]:
        return lambda host, port, *rest: [(socket.AF_INET, 1, 6, "", (number, port)) for number in order]

    def connect(state: Any, sock: Any, address: Any, seconds: float) -> int:
        return found[address[0]] or real(state, sock, address, seconds)

    real = checkup.connect_one
    monkeypatch.setattr(checkup, "connect_one", connect)
    with serving(thing := Thing()) as daemon:
        uri = uri_of(daemon, thing)
        uri.address = "several.example"
        monkeypatch.setattr(gsocket, "getaddrinfo", resolve(["127.0.0.2", "127.0.0.1", "127.0.0.3"]))
        answer = ask(uri)
        assert (answer.code, answer.steps["connect"]["status"]) == (0, "ok")
        told = [re.sub(r" after.*", "", line) for line in answer.steps["connect"]["details"]]
        port = uri.port
        assert told == [
            f"127.0.0.2 port {port}: refused",
            f"127.0.0.1 port {port}: connected",
            f"127.0.0.3 port {port}: timed out",
        ]
        monkeypatch.setattr(gsocket, "getaddrinfo", resolve(["127.0.0.3", "127.0.0.1"]))
        answer = ask(uri)
        assert (answer.code, answer.steps["connect"]["status"]) == (0, "warning")
        found["127.0.0.1"] = errno.ECONNREFUSED
        answer = ask(uri)
        assert answer.failed == ("connect", "no address can be connected to")
        assert len(answer.steps["connect"]["details"]) == 2


def test_a_unix_socket(tmp_path):
    path = f"./u:{tmp_path}/socket"
    with serving(thing := Thing(), host=path) as daemon:
        answer = ask(uri_of(daemon, thing))
        assert answer.code == 0
        assert "its machine" in answer.steps["address"]["hint"]
    step, text = ask(f"PYRO://./u:{str(tmp_path).replace('/', '%2F')}%2Fnone/x").failed
    assert step == "connect"
    assert "no such socket" in text
