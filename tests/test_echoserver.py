import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import gevent
import pytest

from gpyro import core
from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.errors import NamingError
from gpyro.naming import NameServerProxy
from gpyro.test import echoserver
from tests.naming import configured, environment, name_server
from tests.support import eventually, free_port, run_python

ROOT = Path(__file__).parent.parent
MODULE = [sys.executable, "-m", "gpyro.test.echoserver"]
LAUNCHER = [sys.executable, str(ROOT / "scripts" / "gpyro-echoserver")]
PATIENCE = 60


class Child:
    """A process whose output is read line by line, with an end to the patience."""

    def __init__(self, command, *args, items=None):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | (items or {})
        self.process = subprocess.Popen(
            [*command, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            # A shell that runs the tests in the background has made all its children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.output = ""

    def wait_for(self, pattern, stream="stdout"):
        """Read until a line matches, and give the match."""
        descriptor = getattr(self.process, stream).fileno()
        end = time.monotonic() + PATIENCE
        seen = ""
        while not (match := re.search(pattern, seen, re.MULTILINE)):
            ready, _, _ = select.select([descriptor], [], [], end - time.monotonic())
            data = os.read(descriptor, 65536) if ready else b""
            assert data, f"no {pattern!r} in {seen!r}"
            seen += data.decode()
        self.output += seen
        return match

    def end(self, number=None):
        """Send a signal, wait, and give the exit code and the rest of both outputs."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
def start():
    children = []

    def start(*args, command=MODULE, items=None):
        children.append(Child(command, *args, items=items))
        return children[-1]

    yield start
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
        child.process.communicate(timeout=PATIENCE)


@pytest.fixture
def server(start):
    child = start("-H", "127.0.0.1")  # no name, so that nothing has to be resolved
    child.wait_for(r"^echoserver running\.\n")
    return child


@pytest.fixture
def uri(server):
    return re.search(r"^PYRO URI: (\S+)$", server.output, re.MULTILINE)[1]


def test_it_says_where_it_is(start):
    child = start()
    child.wait_for(r"^echoserver running\.\n")
    name, uri, location, running = child.output.splitlines()
    assert name == "object name: :Pyro.test.echoserver"
    port = re.fullmatch(r"PYRO URI: PYRO://localhost:(\d+)/[^/]+", uri)[1]
    assert location == f"PYROLOC URI: PYROLOC://localhost:{port}/:Pyro.test.echoserver"
    assert running == "echoserver running."


def test_echo_error_and_an_attribute(server, uri):
    location = re.search(r"^PYROLOC URI: (\S+)$", server.output, re.MULTILINE)[1]
    for address in (uri, location):
        proxy = core.getProxyForURI(address)
        assert proxy.echo({"a": (1, [2.5, None])}) == {"a": (1, [2.5, None])}
        with pytest.raises(ZeroDivisionError) as error:
            proxy.error()
        assert "echoserver.py" in "".join(error.value.__notes__)
        proxy._release()
    with_attributes = core.getAttrProxyForURI(uri)
    with_attributes.sum = with_attributes.sum + 5
    assert with_attributes.sum == 5
    with_attributes._release()


@pytest.mark.parametrize("command", [MODULE, LAUNCHER], ids=["module", "launcher"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it_cleanly(start, command, number, code):
    child = start(command=command)
    child.wait_for(r"^echoserver running\.\n")
    assert child.end(number) == (code, "echoserver stopped.\n", "")


@pytest.mark.parametrize("command", [MODULE, LAUNCHER], ids=["module", "launcher"])
def test_help(start, command):
    code, out, err = start("--help", command=command).end()
    assert (code, err) == (0, "")
    for option in (
        "-h --help",
        "-H HOST",
        "-p PORT",
        "-v --verbose",
        "--load URI",
        "--callers",
        "--duration",
        "--json",
    ):
        assert option in out


def test_verbose_prints_each_call_with_its_time(start):
    child = start("-H", "127.0.0.1", "--verbose")
    uri = child.wait_for(r"^PYRO URI: (\S+)\n[^$]*^echoserver running\.\n")[1]
    proxy = core.getProxyForURI(uri)
    proxy.echo("x" * 10_000)
    line = child.wait_for(r"^\d\d:\d\d:\d\d\.\d{3} echo\('x.*\)\n")[0]
    assert len(line) < 200
    with pytest.raises(ZeroDivisionError):
        proxy.error()
    child.wait_for(r"^\d\d:\d\d:\d\d\.\d{3} error\(\)\n")
    proxy._release()


def test_a_port_in_use_is_one_clear_line(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = start("-H", "127.0.0.1", "-p", port).end()
    assert (code, out) == (1, "")
    assert err.startswith("gpyro-echoserver: ")
    assert err.count("\n") == 1
    assert "in use" in err


def test_a_chosen_port(start):
    port = free_port()
    child = start("-H", "127.0.0.1", "-p", port)
    child.wait_for(rf"^PYRO URI: PYRO://127\.0\.0\.1:{port}/")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["-p", "70000"], "--port"),
        (["-p", "x"], "--port"),
        (["--load", "U", "--callers", "0"], "--callers"),
        (["--load", "U", "--callers", "10001"], "--callers"),
        (["--load", "U", "--duration", "nan"], "--duration"),
        (["--load", "U", "--duration", "3601"], "--duration"),
        (["--load", "U", "--duration", "-1"], "--duration"),
        (["--load", "U", "--calls", "0"], "--calls"),
        (["--load", "U", "--size", str(1 << 30)], "--size"),
        (["--load", "U", "--size", str(32 << 20), "--callers", "64"], "--size"),
    ],
)
def test_an_unusable_value_is_one_clear_line(capsys, arguments, name):
    assert echoserver.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gpyro-echoserver: ")
    assert name in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--bogus"], ["stray"], ["--callers", "5"], ["--load"]])
def test_arguments_that_do_not_fit_show_the_usage(capsys, arguments):
    assert echoserver.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage:" in err
    assert "Option(" not in err


@pytest.mark.parametrize("uri", ["nonsense", "PYROLOC://localhost:{free}/:Pyro.test.echoserver"])
def test_load_without_a_server_is_one_clear_line(start, uri):
    code, out, err = start("--load", uri.format(free=free_port())).end()
    assert (code, out) == (1, "")
    assert err.startswith("gpyro-echoserver: ")
    assert err.count("\n") == 1


def test_load_on_another_object_is_one_clear_line(server, start, uri):
    daemon = uri.rpartition("/")[0] + "/" + INTERNAL_DAEMON_GUID
    code, out, err = start("--load", daemon).end()
    assert (code, out) == (1, "")
    assert err.startswith("gpyro-echoserver: ")
    assert err.count("\n") == 1


def test_connections_that_cannot_be_set_up_are_one_clear_line(monkeypatch, capsys):
    class Proxy:
        made = 0

        def __init__(self, uri):
            self.number = Proxy.made
            Proxy.made += 1

        def _setPrivateChannel(self, private):
            assert private

        def echo(self, value):
            if self.number:
                raise ConnectionRefusedError("the server is full")

        def _release(self):
            Proxy.made -= 1

    monkeypatch.setattr(core, "getProxyForURI", Proxy)
    assert echoserver.main(["--load", "PYRO://localhost:1/x", "--private", "--callers", "50"]) == 1
    assert capsys.readouterr() == ("", "gpyro-echoserver: the server is full\n")
    assert Proxy.made == 0


@pytest.mark.parametrize("options", [[], ["--private"], ["--size", "100000"]], ids=["shared", "private", "large"])
def test_a_load_of_so_many_calls(start, uri, options):
    code, out, err = start("--load", uri, "--callers", 16, "--calls", 500, "--duration", PATIENCE, *options).end()
    assert code == 0, err
    assert re.match(
        r"500 calls in [\d.]+ s: [\d,]+ calls/s\nlatency p50 [\d.]+ ms, p99 .*p99\.9 .*\nerrors: none\n", out
    )


def test_the_load_as_json_with_the_patched_launcher(start, uri):
    options = ["--callers", 8, "--calls", 100, "--duration", PATIENCE, "--json"]
    code, out, err = start("--load", uri, *options, command=LAUNCHER).end()
    assert code == 0, err
    result = json.loads(out)
    assert (result["calls"], result["errors"], result["interrupted"]) == (100, {}, False)
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99.9"] <= result["latency_ms"]["max"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_load_cut_short_prints_its_result(start, uri, number, code):
    child = start("--load", uri, "--callers", 4, "--duration", 3600)
    child.wait_for(r"calls/s\n", "stderr")
    ended, out, err = child.end(number)
    assert ended == code, err
    assert re.match(r"[\d,]+ calls in .*\nlatency .*\nerrors: none\n", out)
    assert "Traceback" not in err


def test_a_server_that_goes_away_during_the_load(start, server, uri):
    load = start("--load", uri, "--callers", 4, "--duration", 5, "--json")
    load.wait_for(r"calls/s\n", "stderr")
    server.process.kill()
    code, out, err = load.end()
    assert code == 1, err
    result = json.loads(out)
    assert result["calls"] > 0
    assert sum(result["errors"].values()) > 0
    assert result["first_error"]


DEMO = [sys.executable, str(ROOT / "examples" / "demo.py")]


def test_the_demo(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:  # as with a name server, or anything else, running already
        items = {"GPYRO_NS_PORT": str(taken.getsockname()[1]), "GPYRO_NS_HOSTNAME": "nowhere.invalid"}
        code, out, err = start("0.3", command=DEMO, items=items).end()
    assert (code, err) == (0, "")
    assert re.search(r"PYRONAME://localhost:\d+/:Pyro\.test\.echoserver leads to it", out)
    assert "1,000 right answers" in out
    assert re.search(r"its name is gone\n +:Pyro\.NameServer\n", out)
    assert "All as it should be." in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_running(start, number):
    demo = start("60", command=DEMO)
    demo.wait_for(r"Load: 64 callers")
    ports = [int(port) for port in re.findall(r"URI.*//localhost:(\d+)/", demo.output)]
    assert len(set(ports)) == 2
    code, _, err = demo.end(number)
    assert (code, err) == (130, "")
    assert not any(map(reachable, ports))


# ---- at a name server


def apart(function, *arguments):
    """Call it in a thread, while the loop of this process, and so its name server, goes on."""
    return gevent.get_hub().threadpool.apply(function, arguments)


@pytest.fixture
def items(tmp_path):
    return environment(tmp_path, PYRO_NS_LEASE=60.0)  # longer than a test


def own(items):
    """The configuration of a process with a name server of its own, at any port and without broadcasts."""
    return items | {"GPYRO_NS_PORT": "0", "GPYRO_NS_BC_ADDR": ""}


def said(child, what):
    return re.search(rf"^{what}: (\S+)$", child.output, re.MULTILINE)[1]


@pytest.mark.parametrize("command", [MODULE, LAUNCHER], ids=["module", "launcher"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_has_a_name_at_the_name_server_until_it_ends(start, items, command, number, code):
    with configured(items), name_server() as starter:
        ns = NameServerProxy(starter.uri)
        child = start("-n", command=command, items=items)
        apart(child.wait_for, r"^echoserver running\.\n")
        assert str(ns.resolve(echoserver.NAME)) == said(child, "PYRO URI")
        proxy = core.getProxyForURI(said(child, "PYRONAME URI"))
        assert proxy.echo("there") == "there"
        proxy._release()
        assert apart(child.end, number) == (code, "echoserver stopped.\n", "")
        assert ns.list(":Pyro.test") == []
        ns._release()


def test_a_name_that_is_taken_is_one_clear_line(start, items):
    with configured(items), name_server() as starter:
        ns = NameServerProxy(starter.uri)
        child = start("--naming", items=items)
        apart(child.wait_for, r"^echoserver running\.\n")
        code, out, err = apart(start("--naming", items=items).end)
        assert (code, out) == (1, "")
        assert err == "gpyro-echoserver: name already exists: ':Pyro.test.echoserver'\n"
        assert str(ns.resolve(echoserver.NAME)) == said(child, "PYRO URI")
        apart(child.end, signal.SIGKILL)
        # A killed one's name is taken over, where its group is there already.
        another = start("--naming", items=items)
        apart(another.wait_for, r"^echoserver running\.\n")
        assert str(ns.resolve(echoserver.NAME)) == said(another, "PYRO URI")
        ns._release()
        apart(another.end, signal.SIGTERM)


def test_without_a_name_server_there_is_one_clear_line(start, items):
    code, out, err = start("-n", items=items).end()
    assert (code, out) == (1, "")
    assert err.startswith("gpyro-echoserver: could not find NameServer; tried ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [MODULE, LAUNCHER], ids=["module", "launcher"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_runs_a_name_server_of_its_own(start, items, command, number, code):
    with configured(items), name_server() as other:  # which is not looked for
        child = start("-N", "-H", "127.0.0.1", items=own(items), command=command)
        apart(child.wait_for, r"^echoserver running\.\n")
        with pytest.raises(NamingError, match="not found"):
            other.server.space.resolve(echoserver.NAME)
        ns = NameServerProxy(said(child, "URI is"))
        assert ns.URI.port not in (0, other.uri.port)
        assert str(ns.resolve(echoserver.NAME)) == said(child, "PYRO URI")
        assert said(child, "PYRONAME URI") == f"PYRONAME://127.0.0.1:{ns.URI.port}/:Pyro.test.echoserver"
        ns._release()
        ended, out, err = apart(child.end, number)
        assert (ended, out, err) == (code, "echoserver stopped.\n", "")


def test_its_name_server_may_be_ended_before_it(start, items):
    child = start("-N", "-H", "127.0.0.1", items=own(items))
    child.wait_for(r"^echoserver running\.\n")
    ns = NameServerProxy(said(child, "URI is"))
    assert ns._shutdown() == "Will shut down shortly"
    eventually(lambda: not reachable(ns.URI.port))
    ns._release()
    proxy = core.getProxyForURI(said(child, "PYRO URI"))
    assert proxy.echo(1) == 1
    proxy._release()
    code, out, _ = child.end(signal.SIGTERM)
    assert (code, out) == (0, "echoserver stopped.\n")


def reachable(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_that_its_name_server_cannot_have_is_one_clear_line(start, items):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = start("-N", "-H", "127.0.0.1", items=items | {"GPYRO_NS_PORT": str(port)}).end()
    assert code == 1
    assert err.startswith("gpyro-echoserver: ")
    assert err.count("\n") == 1
    assert "in use" in err


def test_without_names_nothing_of_them_is_loaded():
    code = "import sys; from gpyro.test import echoserver; print('gpyro.naming' in sys.modules)"
    assert run_python(code) == (0, "False\n", "")
