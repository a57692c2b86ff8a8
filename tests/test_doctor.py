"""The tool that walks from a URI to its object: each way to fail ends in its step, with its text, in time."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event

from gpyro import checkup, core, doctor
from gpyro.checkup import STEPS
from gpyro.naming import NameServerProxy
from gpyro.wire.frames import MAGIC, Kind, Refusal, pack, pack_text
from gpyro.wire.hello import Hello
from tests.naming import configured, environment, free_port, name_server
from tests.support import ROOT, eventually, serving, uri_of

SECRET = "open sesame"


class Thing(core.ObjBase):
    def ask(self) -> str:
        raise AssertionError("the doctor calls no methods")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            raise AssertionError(f"the doctor asks for no attributes: {name}")
        raise AttributeError(name)


class Answer:
    """What the tool said: its code, what it printed, and each step's status, text and hint."""

    def __init__(self, code: int, out: str) -> None:
        self.code = code
        self.told = json.loads(out)
        self.steps = {step["step"]: step for step in self.told["steps"]}
        assert tuple(self.steps) == STEPS
        self.statuses = [step["status"] for step in self.told["steps"]]

    @property
    def failed(self) -> tuple[str, str]:
        """The step that failed, and its text; all before it did not, and all behind it were skipped."""
        names = [name for name, step in self.steps.items() if step["status"] == "FAILED"]
        assert len(names) == 1
        after = self.statuses[STEPS.index(names[0]) + 1 :]
        assert set(after) <= {"skipped"}
        assert self.code == 1
        assert self.told["ok"] is False
        assert self.hint
        return names[0], self.steps[names[0]]["text"]

    @property
    def hint(self) -> str:
        return next(str(step["hint"]) for step in self.steps.values() if step["status"] == "FAILED")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def ask(uri: object, *options: str, seconds: float = 5) -> Answer:
        capsys.readouterr()  # what name servers said
        code = doctor.main(["--json", "--timeout", str(seconds), *options, str(uri)])
        out, err = capsys.readouterr()
        assert err == ""
        return Answer(code, out)

    return ask


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[str, str]]:
    """Put a text on standard input, to be read as the passphrase."""

    def say(text: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return "-i", "-"

    return say


@contextlib.contextmanager
def listener(serve: Callable[[Any], object]) -> Iterator[str]:
    """Something that listens and has `serve` deal with each connection; gives a URI that leads to it."""
    server = gsocket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(5)

    def deal_with(sock: Any) -> None:
        with contextlib.suppress(OSError), sock:
            serve(sock)

    greenlets = []

    def accept() -> None:
        while True:
            greenlets.append(gevent.spawn(deal_with, server.accept()[0]))

    greenlets.append(gevent.spawn(accept))
    try:
        yield f"PYRO://127.0.0.1:{server.getsockname()[1]}/x"
    finally:
        gevent.killall(greenlets)
        server.close()


def wait_for_end(sock: Any) -> None:
    while sock.recv(65536):
        pass


def welcoming(*frames: bytes, agent: str = "test") -> Callable[[Any], None]:
    """Says hello as a daemon does, and then these frames, when the doctor has said something more."""

    def serve(sock: Any) -> None:
        sock.recv(65536)
        hello = Hello(calls=10, size=1000, sessions=10, agent=agent)
        sock.sendall(MAGIC + pack(Kind.WELCOME, body=hello.to_bytes()))
        sock.recv(65536)
        for frame in frames:
            sock.sendall(frame)
        wait_for_end(sock)

    return serve


# ---- all is well


def test_all_is_well_with_an_object(ask):
    with serving(thing := Thing(), "thing") as daemon:
        answer = ask(uri_of(daemon, thing))
        assert (answer.code, answer.told["ok"]) == (0, True)
        assert answer.statuses == ["skipped", "warning", "ok", "ok", "ok", "ok"]
        assert "loopback" in answer.steps["address"]["hint"]
        assert "PYRO_PUBLISHHOST" in answer.steps["address"]["hint"]
        assert re.search(r"127\.0\.0\.1 port \d+: connected after [\d.]+ ms", answer.steps["connect"]["text"])
        assert "gpyro/" in answer.steps["hello"]["text"]
        assert "median of 10 round trips" in answer.steps["time"]["text"]


def test_all_is_well_with_a_name_of_a_daemon(ask):
    with serving(thing := Thing(), "thing") as daemon:
        answer = ask(f"PYROLOC://localhost:{daemon.port}/thing")
        assert answer.code == 0
        assert uri_of(daemon, thing).objectID in answer.steps["object"]["text"]


def test_a_unix_socket(ask, tmp_path):
    path = f"./u:{tmp_path}/socket"
    with serving(thing := Thing(), host=path) as daemon:
        answer = ask(uri_of(daemon, thing))
        assert answer.code == 0
        assert "its machine" in answer.steps["address"]["hint"]
    step, text = ask(f"PYRO://./u:{str(tmp_path).replace('/', '%2F')}%2Fnone/x").failed
    assert step == "connect"
    assert "no such socket" in text


def test_connected_classes_make_no_instance(ask):
    made = []
    with serving(Thing()) as daemon:
        for mode in ("single", "session", "call"):
            uri = daemon.connect_class(Thing, instances=mode, creator=lambda: made.append(1))
            assert ask(uri).code == 0
    assert not made


def test_as_text(capsys):
    with serving(thing := Thing(), "thing") as daemon:
        uri = uri_of(daemon, thing)
        assert doctor.main([str(uri)]) == 0
        first, *lines = capsys.readouterr().out.splitlines()
        assert first == str(uri)
        assert [line[:17].split() for line in lines if line[0] != " "] == [
            ["name", "skipped"],
            ["address", "warning"],
            ["connect", "ok"],
            ["hello", "ok"],
            ["object", "ok"],
            ["time", "ok"],
        ]
        assert sum(line.startswith(" " * 18 + "hint: ") for line in lines) == 1
        daemon.disconnect(thing)
        assert doctor.main([str(uri)]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert "object   FAILED   the server does not know the object" in "\n".join(lines)
        assert lines[-1].startswith("time     skipped")


# ---- names


@pytest.fixture
def items(tmp_path):
    items = environment(tmp_path)
    with configured(items):
        yield items


def test_a_name_is_found_by_searching_and_at_its_host(ask, items):
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


def test_names_that_lead_nowhere(ask, items):
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


def test_without_a_name_server_all_that_was_tried_is_told(ask, items, tmp_path):
    answer = ask("PYRONAME://thing")
    step, text = answer.failed
    assert (step, text) == ("name", "there is no name server")
    tried = "\n".join(answer.steps["name"]["details"])
    for way in (f"localhost:{items['GPYRO_NS_PORT']}", f"the file {tmp_path}", "a broadcast to 127.255.255.255"):
        assert f"tried {way}" in tried
    assert "PYRO_NS_HOSTNAME" in answer.hint
    step, text = ask(f"PYRONAME://127.0.0.1:{free_port()}/thing").failed
    assert step == "name"
    assert "Connection refused" in text


def test_a_host_that_is_no_name_server(ask, items):
    with serving(Thing()) as daemon:
        step, text = ask(f"PYRONAME://127.0.0.1:{daemon.port}/thing").failed
        assert step == "name"
        assert "no object found by this name" in text
    with listener(wait_for_end) as uri:
        port = uri.split(":")[2].split("/")[0]
        assert ask(f"PYRONAME://127.0.0.1:{port}/thing", seconds=0.2).failed[0] == "name"


def test_the_passphrase_of_a_name_server(ask, items, say):
    with name_server(identification=SECRET) as starter:
        name = f"PYRONAME://127.0.0.1:{starter.uri.port}/:Pyro.NameServer"
        answer = ask(name)
        assert answer.failed[0] == "name"
        assert "-i FILE" in answer.hint
        assert ask(name, *say(SECRET + "\n")).code == 0
        assert ask(name, *say("wrong\n")).failed[0] == "name"


def test_a_name_server_without_passphrase_is_asked_nevertheless(ask, items, say):
    with name_server() as starter, serving(Thing(), "thing") as daemon:
        daemon.setAllowedIdentifications([SECRET])
        starter.server.space.register(":thing", f"PYROLOC://127.0.0.1:{daemon.port}/thing")
        answer = ask(f"PYRONAME://127.0.0.1:{starter.uri.port}/:thing", *say(SECRET))
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


def test_a_host_that_is_not_known(ask, monkeypatch):
    def unknown(*arguments: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(gsocket, "getaddrinfo", unknown)
    answer = ask("PYRO://nowhere.example:7766/x")
    assert answer.failed == ("address", "the host 'nowhere.example' is not known: Name or service not known")
    assert "DNS" in answer.hint


def test_a_look_up_that_does_not_end(ask, monkeypatch):
    monkeypatch.setattr(gsocket, "getaddrinfo", lambda *arguments: gevent.sleep(60))
    step, text = ask("PYRO://slow.example:7766/x", seconds=0.05).failed
    assert (step, "no answer" in text) == ("address", True)


# ---- connecting


def test_a_port_where_nobody_listens(ask):
    answer = ask(f"PYRO://127.0.0.1:{free_port()}/x")
    step, text = answer.failed
    assert (step, "refused after" in text) == ("connect", True)
    assert "PYRO_HOST" in answer.hint


def test_a_listener_whose_queue_is_full_does_not_answer(ask):
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


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH])
def test_unreachable(ask, monkeypatch, code):
    monkeypatch.setattr(checkup, "connect_one", lambda *arguments: code)
    step, text = ask("PYRO://8.8.8.8:7766/x").failed
    assert (step, "unreachable after" in text) == ("connect", True)


def test_several_addresses(ask, monkeypatch):
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


# ---- the hello


def answering(data: bytes, first: bool = False) -> Callable[[Any], None]:
    def serve(sock: Any) -> None:
        if not first:
            sock.recv(65536)
        sock.sendall(data)
        wait_for_end(sock)

    return serve


def reading_lines(sock: Any) -> None:
    """As a web server, which answers when the request's line has ended."""
    got = b""
    while b"\n" not in got:
        got += sock.recv(65536)
    sock.sendall(b"<!DOCTYPE HTML>\n<html><head><title>Error</title></head></html>\n")


REFUSALS = {
    Refusal.TOO_BUSY: "too many connections",
    Refusal.HOST_BLOCKED: "nobody from here",
    Refusal.SECURITY: "wants a passphrase",
    Refusal.VERSION: "version",
    Refusal.SERIALIZER: "serializer",
    Refusal.DRAINING: "shutting down",
    Refusal.UNSPECIFIED: "it refused (it says: because)",
}


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        (wait_for_end, "accepted the connection, and said nothing"),
        (answering(b"gP"), "said only b'gP'"),
        (lambda sock: None, "without a word"),
        (answering(b"SSH-2.0-OpenSSH_9.6\r\n", first=True), "it began with b'SSH-2.0"),
        (answering(b"\x00\x1b[31m\xff" * 30), r"it began with b'\x00\x1b[31m"),
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it speaks HTTP"),
        (reading_lines, "it speaks HTTP"),
        (answering(b"\x15\x03\x01\x00\x02\x02\x0a"), "encrypted connection"),
        (answering(b"PYRO\x00\x05"), "Pyro itself"),
        (answering(MAGIC + pack(Kind.RESULT)), "breaks the rules"),
        (answering(MAGIC + pack(Kind.WELCOME, body=b"{")), "breaks the rules"),
        (answering(MAGIC + pack(Kind.AUTHENTICATE, body=b"r=x")), "breaks the rules"),
        *(
            (answering(MAGIC + pack_text(Kind.REFUSED, code, "because")), expected)
            for code, expected in REFUSALS.items()
        ),
    ],
)
def test_who_is_no_server_or_lets_nobody_in(ask, serve, expected):
    with listener(serve) as uri:
        step, text = ask(uri, seconds=0.3).failed
        assert step == "hello"
        assert expected in text


def test_it_ends_amid_the_hello(ask):
    def serve(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + b"\x02")

    with listener(serve) as uri:
        step, text = ask(uri).failed
        assert (step, "closed the connection after it had said" in text) == ("hello", True)


def test_passphrases(ask, say, tmp_path):
    with serving(thing := Thing()) as daemon:
        uri = uri_of(daemon, thing)
        answer = ask(uri, *say(SECRET))
        assert answer.failed[0] == "hello"
        assert "asks for no passphrase" in answer.failed[1]
        daemon.setAllowedIdentifications([SECRET, ("ann", "her secret")])
        answer = ask(uri)
        assert answer.failed[0] == "hello"
        assert "wants a passphrase" in answer.failed[1]
        assert "-i FILE" in answer.hint
        answer = ask(uri, *say("wrong"))
        assert answer.failed[0] == "hello"
        assert "the passphrase is wrong" in answer.failed[1]
        answer = ask(uri, *say(SECRET))
        assert answer.code == 0
        assert "knows the passphrase" in answer.steps["hello"]["text"]
        assert ask(uri, *say("ann\nher secret\n")).code == 0
        file = tmp_path / "passphrase"
        file.write_text(SECRET + "\n")
        assert ask(uri, "--identification-file", str(file)).code == 0


def test_an_impostor_does_not_prove_anything(ask, say):
    def serve(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + pack(Kind.AUTHENTICATE, body=b"garbage"))
        wait_for_end(sock)

    with listener(serve) as uri:
        answer = ask(uri, *say(SECRET))
        assert answer.failed[0] == "hello"
        assert "not who it should be" in answer.failed[1]


def test_what_peers_say_is_not_printed_raw(capsys):
    evil = "\x1b[31m\x9b5m\u202e\nok"
    with listener(answering(MAGIC + pack_text(Kind.REFUSED, 0, evil))) as uri:
        assert doctor.main([uri]) == 1
    with listener(welcoming(pack_text(Kind.REJECTED, 3, evil, 1, 1), agent=evil)) as uri:
        assert doctor.main([uri]) == 1
    out = capsys.readouterr().out
    assert "[31m" in out
    assert all(character.isprintable() for character in out.replace("\n", ""))
    assert not any(line.startswith("ok") for line in out.splitlines())


# ---- the object


def test_objects_that_are_not_there(ask):
    with serving(Thing(), "thing") as daemon:
        answer = ask(f"PYRO://127.0.0.1:{daemon.port}/none")
        assert answer.failed[0] == "object"
        assert "unknown object ID 'none'" in answer.failed[1]
        assert "restarted" in answer.hint
        step, text = ask(f"PYROLOC://127.0.0.1:{daemon.port}/none").failed
        assert step == "object"
        assert "no object found by this name: 'none'" in text


def test_an_object_whose_turn_does_not_come(ask):
    over = Event()

    class Slow(core.SynchronizedObjBase):
        began = False

        def wait(self) -> None:
            self.began = True
            over.wait()

    with serving(slow := Slow()) as daemon:
        proxy = daemon.getProxyForObj(slow)
        caller = gevent.spawn(proxy.wait)
        eventually(lambda: slow.began)
        answer = ask(uri_of(daemon, slow), seconds=0.2)
        assert answer.failed[0] == "object"
        assert "though the daemon answers a ping" in answer.failed[1]
        assert "do not overlap" in answer.hint
        over.set()
        caller.get()
        proxy._release()


def test_sessions_that_cannot_be_prepared(ask):
    def prepare(storage: Any) -> None:
        raise ValueError("no\x1b[31m disk")

    with serving(thing := Thing()) as daemon:
        daemon.setInitTLS(prepare)
        step, text = ask(uri_of(daemon, thing)).failed
        assert step == "object"
        assert "ValueError: no?[31m disk" in text


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ((), "does not answer a ping, either"),
        ((pack(Kind.PING, body=b"1"), pack(Kind.CREDIT, body=bytes(8))), "does not answer a ping, either"),
        ((pack_text(Kind.GOAWAY, 7, "over"),), "it ends the connection: over"),
        ((pack(Kind.RESULT, 0xFFFF, 1),), "does not answer a ping, either"),
        ((pack(Kind.ERROR, 1, 1, b"\xff\xff"),), "SerializationError"),
        ((pack_text(Kind.REJECTED, 3, "busy", 1, 1),), "does not carry out calls of the object: busy"),
        ((pack(Kind.HELLO),), "breaks the rules"),
    ],
)
def test_servers_that_behave_oddly(ask, frames, expected):
    with listener(welcoming(*frames)) as uri:
        step, text = ask(uri, seconds=0.2).failed
        assert step == "object"
        assert expected in text


def test_a_peer_that_floods_is_not_listened_to_for_longer(ask):
    def serve(sock: Any) -> None:
        welcome(sock)
        while True:
            sock.sendall(pack(0x90, body=bytes(100)) * 50)

    def welcome(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + pack(Kind.WELCOME, body=Hello(calls=1, size=1, sessions=1).to_bytes()))

    with listener(serve) as uri:
        assert ask(uri, seconds=0.2).failed[0] == "object"


def test_a_server_that_serves_nothing_or_leaves(ask):
    def client(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + pack(Kind.WELCOME, body=Hello().to_bytes()))
        wait_for_end(sock)

    def leaving(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + pack(Kind.WELCOME, body=Hello(calls=1, size=1, sessions=1).to_bytes()))
        sock.recv(65536)

    with listener(client) as uri:
        assert ask(uri).failed == ("object", "it serves no objects")
    with listener(leaving) as uri:
        assert ask(uri).failed == ("object", "it closed the connection")


def test_a_server_that_stops_answering_while_its_time_is_taken(ask):
    with listener(welcoming(pack(Kind.RESULT, 1, 1, b"\0"))) as uri:
        assert ask(uri, seconds=0.2).failed[0] == "time"


# ---- arguments, and the end


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonsense"], "no URI"),
        (["PYRO://host:99999/x"], "99999"),
        (["PYRO://"], "invalid URI format"),
        (["PYROSSL://host/x"], "PYROSSL"),
        (["PYRONAME://a b"], "a b"),
        (["PYRO://h/\x1b[31m"], "PYRO"),
        (["--timeout", "0", "PYRO://h/x"], "--timeout"),
        (["--timeout", "nan", "PYRO://h/x"], "--timeout"),
        (["--timeout", "x", "PYRO://h/x"], "--timeout"),
        (["-i", "/nonexistent/file", "PYRO://h/x"], "No such file"),
        (["-i", "/", "PYRO://h/x"], "directory"),
        (["-i", "/dev/null", "PYRO://h/x"], "0 lines"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_clear_line(capsys, arguments, expected):
    assert doctor.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gpyro-doctor: ")
    assert expected in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("text", ["a\nb\nc\n", "\n", "x" * 500, "\x00"])
def test_passphrases_that_cannot_be_used(capsys, say, text):
    assert doctor.main([*say(text), "PYRO://h/x"]) == 2
    assert capsys.readouterr().err.startswith("gpyro-doctor: ")


def test_passphrases_that_are_no_text(capsys, tmp_path):
    file = tmp_path / "passphrase"
    file.write_bytes(b"\xff\xfe\x00")
    assert doctor.main(["-i", str(file), "PYRO://h/x"]) == 2
    assert "UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--bogus", "PYRO://h/x"], ["PYRO://h/x", "PYRO://h/y"]])
def test_arguments_that_do_not_fit_show_the_usage(capsys, arguments):
    assert doctor.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage:" in err


def test_ctrl_c(monkeypatch, capsys):
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkup.Checkup, "_address", interrupted)
    assert doctor.main(["PYRO://h/x"]) == 130


@pytest.mark.parametrize(
    "command", [["-m", "gpyro.doctor"], [str(ROOT / "scripts" / "gpyro-doctor")]], ids=["module", "script"]
)
def test_as_a_program(command, tmp_path):
    def run(*arguments: str, passphrase: str = "") -> tuple[int, str, str]:
        with subprocess.Popen(
            [sys.executable, *command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "GPYRO_STORAGE": str(tmp_path)},
        ) as process:
            out, err = gevent.get_hub().threadpool.apply(process.communicate, (passphrase,))
        return process.returncode, out, err

    with serving(thing := Thing()) as daemon:
        daemon.setAllowedIdentifications([SECRET])
        uri = str(uri_of(daemon, thing))
        code, out, err = run("-i", "-", uri, passphrase=SECRET + "\n")
        assert (code, err) == (0, "")
        assert SECRET not in out
        code, out, err = run(uri)
        assert (code, err) == (1, "")
        assert "hello    FAILED" in out
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for option in ("-i FILE", "--identification-file", "--timeout", "--json", "--version"):
        assert option in out
    assert run("nonsense")[0] == 2
