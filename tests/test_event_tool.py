"""gpyro-es, mostly as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

import pytest

from gpyro import config, eventsvc
from gpyro.errors import ConnectionDeniedError, NamingError, PyroError
from gpyro.eventsvc import EventServiceStarter, Publisher
from tests.naming import configured, environment, free_port, name_server, proxy_of
from tests.programs import running
from tests.support import ROOT, eventually

MODULE = [sys.executable, "-m", "gpyro.eventsvc"]
LAUNCHER = [sys.executable, str(ROOT / "scripts" / "gpyro-es")]
STARTED = "Event Server started."


@pytest.fixture
def items(tmp_path):
    return environment(tmp_path, PYRO_NS_HOSTNAME="127.0.0.1")


@pytest.fixture(autouse=True)
def _configuration(items):
    with configured({name: text for name, text in items.items() if name != "GPYRO_NS_HOSTNAME"}):
        config.PYRO_NS_HOSTNAME = "127.0.0.1"
        yield


@pytest.fixture
def tool(items):
    """Runs gpyro-es with arguments, and more items."""

    def tool(*arguments, command=MODULE, **more):
        return running([*command, *map(str, arguments)], {**items, **more})

    return tool


@pytest.fixture
def refusal(tool):
    """Gives the one line of error of a gpyro-es that cannot run."""

    def refusal(*arguments, code=1, **more):
        with tool(*arguments, **more) as server:
            found, _, err = server.end()
        assert found == code
        assert err.count("\n") == 1
        assert err.startswith("gpyro-es: ")
        return err.removeprefix("gpyro-es: ").rstrip("\n")

    return refusal


@pytest.fixture
def names():
    with name_server(nobroadcast=True) as starter:
        proxy = proxy_of(starter)
        yield proxy
        proxy._release()


def started(server):
    """The lines that it prints until it serves."""
    lines = [server.line()]
    while lines[-1] != STARTED:
        lines.append(server.line())
    return lines


def uri_in(lines):
    (uri,) = (line.removeprefix("URI= ") for line in lines if line.startswith("URI= "))
    return uri


# ---- from start to end


@pytest.mark.parametrize("command", [MODULE, LAUNCHER], ids=["module", "launcher"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_what_it_prints_from_start_to_end(tool, command, number, code):
    with tool("-N", command=command) as server:
        greeting, uri, warning, last = started(server)
        assert greeting == "*** Pyro Event Server ***"
        assert uri.startswith("URI= PYRO://127.0.0.1:")
        assert warning.startswith("WARNING: URIs of this server are of no use on other machines: 127.0.0.1 ")
        assert last == STARTED
        Publisher(esURI=uri.removeprefix("URI= ")).publish("a", 1)
        server.send_signal(number)
        broken_off = "Shutting down on user break signal.\n" if number == signal.SIGINT else ""
        assert server.end() == (code, f"{broken_off}Event Server gracefully stopped.\n", "")


def test_it_is_registered_while_it_runs(tool, names):
    with tool("-p", 0) as server:
        uri = uri_in(started(server))
        assert str(names.resolve(":Pyro.EventService")) == uri
        Publisher().publish("a", 1)
        server.send_signal(signal.SIGTERM)
        server.ended_well()
    with pytest.raises(NamingError, match="name not found"):
        names.resolve(":Pyro.EventService")
    with tool("-N", "-p", 0) as server:
        started(server)
        with pytest.raises(NamingError, match="name not found"):
            names.resolve(":Pyro.EventService")


def test_one_that_was_killed_starts_again_at_once(tool, names):
    for _ in range(2):
        with tool("-p0") as server:
            uri = uri_in(started(server))
            assert str(names.resolve(":Pyro.EventService")) == uri
            server.kill()


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGTERM, (0, "")), (signal.SIGINT, (130, "Shutting down on user break signal.\n"))]
)
def test_signals_while_it_looks_for_the_name_server(tool, number, end):
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, tool(GPYRO_NS_PORT=str(silent.getsockname()[1])) as server:
        assert server.line() == "*** Pyro Event Server ***"
        silent.settimeout(30)
        connection, _ = silent.accept()  # now it waits for an answer, which never comes
        with connection:
            server.send_signal(number)
            assert server.end() == (*end, "")


def test_where_it_listens(tool):
    port = free_port()
    with tool("-N", "-n", "127.0.0.2", "-p", port) as server:
        assert uri_in(started(server)).startswith(f"PYRO://127.0.0.2:{port}/")


def test_without_a_port_it_takes_one_that_is_free(tool):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if port > 65000:
            pytest.skip("there are few ports above")
        with tool("-N", GPYRO_PORT=str(port)) as server:
            found = int(uri_in(started(server)).split(":")[2].partition("/")[0])
            assert port < found < port + 100


def test_verbose(tool, names):
    with tool("-vp0", GPYRO_ES_QUEUESIZE="7", GPYRO_ES_QUEUEBYTES="0", GPYRO_ES_BLOCKQUEUE="0") as server:
        lines = started(server)
        assert any("Using gpyro V" in line for line in lines)
        assert f"Name Server: {names.URI}" in lines
        assert "Queues of subscribers: 7 events, any number of bytes, newest" in lines


def test_it_runs_in_a_thread_of_a_program(monkeypatch):
    codes, starters = [], []
    start = EventServiceStarter.start
    monkeypatch.setattr(
        EventServiceStarter, "start", lambda self, **arguments: (starters.append(self), start(self, **arguments))
    )
    thread = threading.Thread(target=lambda: codes.append(eventsvc.main(["-N", "-p0"])))
    thread.start()
    eventually(lambda: starters and starters[0].waitUntilStarted(0), 30)
    Publisher(esURI=starters[0].uri).publish("a", 1)
    starters[0].shutdown()
    eventually(lambda: codes, 30)
    thread.join(30)
    assert codes == [0]


def test_output_that_nobody_reads(tool, names):
    with tool("-p0") as server:
        server.line()
        server.process.stdout.close()
        eventually(lambda: published(), 30)
        server.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert server.process.stderr.read() == ""


def published():
    try:
        Publisher().publish("a", 1)
    except PyroError:
        return False
    return True


# ---- who may use it


def test_passphrases(tool, tmp_path):
    secret = tmp_path / "passphrase"
    secret.write_text("open sesame\n")
    with name_server(identification="open sesame", nobroadcast=True):
        for options in (["--identification-file", secret], ["--identification-file=-"]):
            with tool("-p0", *options) as server:
                if options[0].endswith("-"):
                    server.say("open sesame")
                    server.end_input()
                lines = started(server)
                assert "Requiring connection authentication." in lines
                Publisher("open sesame").publish("a", 1)
                with pytest.raises(ConnectionDeniedError):
                    Publisher(esURI=uri_in(lines)).publish("a", 1)
                server.send_signal(signal.SIGTERM)
                server.ended_well()


def test_everybody_may_not_connect_from_elsewhere_by_oversight(tool, refusal, names):
    told = refusal("-n", "0.0.0.0")
    assert "everybody who can reach this machine could publish and read events" in told
    assert "--identification-file" in told
    assert names.list(":Pyro") == [("NameServer", 1)]
    with tool("-n", "0.0.0.0", "-Np0", "-i", "secret") as server:
        started(server)


# ---- bad input


def test_a_port_in_use(refusal):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refusal("-Np", port)
    assert told == f"Couldn't start Pyro daemon: 127.0.0.1 port {port}: Address already in use"


def test_no_name_server(refusal, items):
    port = items["GPYRO_NS_PORT"]
    told = refusal("-p0")
    assert told.startswith(f"could not find NameServer on host 127.0.0.1: connection failed: 127.0.0.1:{port}: ")
    assert told.endswith(" (-N runs it without one)")


def test_a_name_server_that_wants_another_passphrase(refusal):
    with name_server(identification="secret", nobroadcast=True):
        for options in ((), ("-i", "wrong")):
            assert refusal("-p0", *options).startswith("the name server cannot be asked: security reasons: ")


def test_a_name_server_that_did_not_prove_who_it_is(refusal, names):
    told = refusal("-p0", "-i", "secret")
    assert told.startswith("the name server cannot be asked: 127.0.0.1:")
    assert "asks for no passphrase" in told


def test_something_else_where_the_name_server_should_be(refusal, items):
    with socket.create_server(("127.0.0.1", int(items["GPYRO_NS_PORT"]))) as other:

        def answer():
            with other.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "could not find NameServer on host 127.0.0.1: " in refusal("-p0")
        thread.join()


def test_an_event_server_that_is_registered_and_still_there(tool, refusal, names):
    with tool("-p0") as first:
        uri = uri_in(started(first))
        because = f"an event server is registered, and still there: {uri}"
        assert refusal("-p0").strip() == f"name already exists: ':Pyro.EventService': {because}"
        assert str(names.resolve(":Pyro.EventService")) == uri


def test_a_host_that_is_not_this_machine(refusal):
    told = refusal("-N", "-n", "192.0.2.77", "-i", "secret")
    assert told.startswith("Couldn't start Pyro daemon: 192.0.2.77 port")


def test_a_configuration_that_cannot_be_used(refusal):
    assert "GPYRO_ES_QUEUESIZE" in refusal("-N", GPYRO_ES_QUEUESIZE="many")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-p", "x"], "--port must be a whole number from 0 to 65535, not 'x'"),
        (["-p", "70000"], "--port must be a whole number from 0 to 65535, not '70000'"),
        (["-n", ""], "--host: invalid address ''"),
        (["-n", "a b"], "--host: invalid address 'a b'"),
        (["-i", ""], "--identification: a passphrase has 1 to 128 bytes"),
        (["--identification-file", "/no/such/file"], "--identification-file: /no/such/file cannot be read"),
        (["-i", "a", "--identification-file", "b"], "--identification and --identification-file are two ways"),
    ],
)
def test_an_unusable_value_is_one_clear_line(capsys, words, told):
    assert eventsvc.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gpyro-es: {told}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--bogus"], ["stray"], ["-p"], ["-NN"]])
def test_arguments_that_do_not_fit_show_the_usage(capsys, words):
    assert eventsvc.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage:" in err


def test_help_and_version(capsys):
    page = (ROOT / "docs" / "events.md").read_text()
    for words in (["-h"], ["--help"]):
        with pytest.raises(SystemExit):
            eventsvc.main(words)
        out = capsys.readouterr().out
        for letter in "hnpNiv":
            assert f"\n  -{letter} " in out
            assert f"| `-{letter}" in page
        assert max(map(len, out.splitlines())) <= 90
    with pytest.raises(SystemExit):
        eventsvc.main(["--version"])
    assert capsys.readouterr().out.startswith("gpyro ")
    assert "scripts/gpyro-es\n" in (ROOT / "setup.cfg").read_text()
    assert os.access(LAUNCHER[1], os.X_OK)
