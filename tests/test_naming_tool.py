"""gpyro-ns, mostly as a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import gevent
import pytest

from gpyro import naming
from gpyro.errors import ConnectionDeniedError, PyroError, StoreError
from gpyro.naming import NameServerLocator, NameServerProxy
from tests.naming import BROADCAST, free_port, name_server, started
from tests.programs import running
from tests.support import ROOT, eventually

MODULE = [sys.executable, "-m", "gpyro.naming"]
LAUNCHER = [sys.executable, str(ROOT / "scripts" / "gpyro-ns")]

URI = "PYRO://192.0.2.1:7766/id"

pytestmark = pytest.mark.usefixtures("env")


@pytest.fixture
def tool(env, tmp_path):
    """Runs gpyro-ns with arguments, and more items."""

    def tool(*arguments, command=MODULE, directory=ROOT, **more):
        return running([*command, *map(str, arguments)], {**env, **more}, directory)

    return tool


@pytest.fixture
def refusal(tool):
    """Gives the exit code, the output and the one line of error of gpyro-ns with arguments."""

    def refusal(*arguments, **more):
        with tool(*arguments, **more) as server:
            code, out, err = server.end()
        assert err.count("\n") == 1
        assert err.startswith("gpyro-ns: ")
        return code, out, err.removeprefix("gpyro-ns: ").rstrip("\n")

    return refusal


def client(identification=None):
    """The name server that listens where the configuration says, without a search that would have to be quick."""
    return NameServerLocator(identification).getNS("127.0.0.1")


def port_of(env):
    return env["GPYRO_NS_PORT"]


# ---- from start to end


@pytest.mark.parametrize("command", [MODULE, LAUNCHER], ids=["module", "launcher"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_what_it_prints_from_start_to_end(tool, env, tmp_path, command, number, code):
    with tool(command=command) as server:
        lines = started(server)
        uri = (tmp_path / "Pyro_NS_URI").read_text().strip()
        assert lines == [
            "*** Pyro Name Server ***",
            f"Name server listening on: ('127.0.0.1', {port_of(env)})",
            f"Broadcast server listening on: ('{BROADCAST}', {env['GPYRO_NS_BC_PORT']})",
            f"URI is: {uri}",
            f"URI written to: {tmp_path / 'Pyro_NS_URI'}",
            "Name Server started.",
        ]
        client().ping()
        server.send_signal(number)
        broken_off = "Shutting down on user break signal.\n" if number == signal.SIGINT else ""
        assert server.end() == (code, f"{broken_off}Name Server gracefully stopped.\n", "")


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGTERM, (0, "")), (signal.SIGINT, (130, "Shutting down on user break signal.\n"))]
)
def test_signals_while_it_looks_for_others(tool, number, end):
    with tool(GPYRO_BC_TIMEOUT="600") as server:
        assert server.line() == "*** Pyro Name Server ***"
        # It prints that before it answers signals differently, or not at all any more: it looks for 20 minutes.
        eventually(lambda: sleeps(server))
        server.send_signal(number)
        assert server.end() == (*end, "")


def sleeps(server):
    """Whether a process has a UDP socket, as it has while it looks for others."""
    mine = {os.readlink(file) for file in files(server.process.pid)}
    with open("/proc/net/udp") as table:
        return any(f"socket:[{line.split()[9]}]" in mine for line in table.readlines()[1:])


def files(process):
    with os.scandir(f"/proc/{process}/fd") as found:
        return [file.path for file in found]


def test_it_is_ended_by_a_client_unless_it_is_told_to_keep_running(tool):
    with tool("-k") as server:
        started(server)
        assert NameServerLocator().sendSysCommand("shutdown", "127.0.0.1") == "Shutdown request denied"
        server.send_signal(signal.SIGTERM)
        server.ended_well()
    with tool() as server:
        started(server)
        assert NameServerLocator().sendSysCommand("shutdown", "127.0.0.1") == "Will shut down shortly"
        assert server.ended_well() == "Name Server gracefully stopped.\n"


def test_where_it_listens(tool, tmp_path):
    port, bcport = free_port(), free_port(socket.SOCK_DGRAM)
    options = ["-n", "127.0.0.2", "-p", port, "-b", bcport, "-c", "127.255.255.254"]
    with tool(*options, GPYRO_NS_BC_ADDR="") as server:
        lines = started(server)
        assert f"Name server listening on: ('127.0.0.2', {port})" in lines
        assert f"Broadcast server listening on: ('127.255.255.254', {bcport})" in lines
        assert NameServerLocator().detectNS("127.0.0.2", port).port == port
    with tool("-x", "--port=0") as server:
        assert not any("Broadcast" in line for line in started(server))


def test_verbose(tool):
    with tool("-v") as server:
        lines = started(server)
        assert "Will accept shutdown requests." in lines
        assert any("Using gpyro V" in line for line in lines)
    with tool("-vk") as server:
        assert "Will ignore shutdown requests." in started(server)


def test_it_runs_in_a_thread_of_a_program():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(naming.main(["-rx"])))
    thread.start()
    eventually(find)._shutdown()
    eventually(lambda: codes)
    thread.join(30)
    assert codes == [0]


def test_help_and_version(capsys):
    for words in (["-h"], ["--help"]):
        with pytest.raises(SystemExit):
            naming.main(words)
        out = capsys.readouterr().out
        for letter in "hkmrxnpbcids12v":
            assert f"\n  -{letter} " in out
        assert max(map(len, out.splitlines())) <= 90
    with pytest.raises(SystemExit):
        naming.main(["--version"])
    assert capsys.readouterr().out.startswith("gpyro ")


def test_output_that_nobody_reads(tool):
    with tool() as server:
        server.line()
        server.process.stdout.close()
        ns = eventually(lambda: find())
        ns.ping()
        server.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert server.process.stderr.read() == ""


def find():
    try:
        return client()
    except PyroError:
        return None


# ---- names in a file


@pytest.mark.parametrize(
    ("options", "directory"),
    [(["-d"], "Pyro_NS_database"), (["-rd", "mine"], "mine"), (["--database=deep/er"], "deep/er")],
)
def test_names_are_there_after_a_kill(tool, tmp_path, options, directory):
    with tool(*options) as server:
        started(server)
        client().register("a", URI)
        server.kill()
    assert (tmp_path / directory / "names.db").exists()
    with tool(*options) as server:
        started(server)
        assert str(client().resolve("a")) == URI


def damaged(path):
    data = path.read_bytes()
    path.write_bytes(data[:5000] + b"\xff" * 3000 + data[8000:])


def newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (damaged, "it is damaged"),
        (newer, "it was written by a newer version of gpyro (its tables have version 2, this gpyro knows 1)"),
        (lambda path: path.write_bytes(b"no database at all" * 1000), "it is not a database of SQLite"),
    ],
    ids=["damaged", "newer", "no database"],
)
def test_databases_that_cannot_be_used(refusal, env, tmp_path, spoil, told):
    with name_server(persistent=1, nobroadcast=True):
        client().register("a", URI)
    path = tmp_path / "Pyro_NS_database" / "names.db"
    spoil(path)
    content = path.read_bytes()
    code, out, err = refusal("-rd")
    assert (code, out) == (1, "*** Pyro Name Server ***\n")
    assert err.startswith(f"cannot open {path}: {told}")
    assert path.read_bytes() == content


def test_two_servers_on_one_database(tool, refusal, tmp_path):
    with tool("-d") as server:
        started(server)
        code, _, err = refusal("-d", "-r", "-x", "-p0")
        assert code == 1
        path = tmp_path / "Pyro_NS_database" / "names.db"
        assert err == f"cannot open {path}: process {server.process.pid} has it open"
        client().register("a", URI)


def may_mount() -> bool:
    if os.getuid() != 0 or not shutil.which("unshare"):
        return False
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def on_small_disk(place, command, then=""):
    """A command that runs another one with a disk of 512 KiB at `place`, which only that one sees."""
    script = f'mount -t tmpfs -o size=512k none "$0" && {then or "true"} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(place), *command]


MAY_MOUNT = pytest.mark.skipif(not may_mount(), reason="only a superuser who may mount can make a small disk")


@MAY_MOUNT
def test_a_full_disk(tool, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    with tool("-d", place, command=on_small_disk(place, MODULE, 'head -c 100k /dev/zero >"$0/fill"')) as server:
        started(server)
        ns = client()
        kept = 0
        with contextlib.suppress(StoreError):
            while kept < 50:
                ns.register(f"a{kept}", URI)
                kept += 1
                ns.setMeta(f"a{kept - 1}", "x" * 60_000)
        assert 0 < kept < 50
        with pytest.raises(StoreError, match="there is no room left for it"):
            ns.setMeta("a0", "y" * 60_000)
        assert sorted(name for name, _ in ns.list(None)) == sorted(f"a{number}" for number in range(kept))
        (Path(f"/proc/{server.process.pid}/root") / place.relative_to("/") / "fill").unlink()
        ns.setMeta("a0", "y" * 60_000)
        server.send_signal(signal.SIGTERM)
        assert server.ended_well() == "Name Server gracefully stopped.\n"


@MAY_MOUNT
def test_a_disk_that_is_full_already(refusal, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    fill = 'dd if=/dev/zero of="$0/fill" bs=1k count=1000 2>/dev/null; true'
    code, out, err = refusal("-d", place, command=on_small_disk(place, MODULE, fill))
    assert (code, out) == (1, "*** Pyro Name Server ***\n")
    assert str(place) in err
    assert "No space left on device" in err or "there is no room left for it" in err


@MAY_MOUNT
def test_a_disk_that_may_only_be_read(refusal, tmp_path):
    with name_server(persistent=1, nobroadcast=True):
        pass
    place = tmp_path / "disk"
    place.mkdir()
    fill = f'cp "{tmp_path}/Pyro_NS_database/names.db" "$0" && mount -o remount,ro "$0"'
    code, _, err = refusal("-d", place, command=on_small_disk(place, MODULE, fill))
    assert code == 1
    assert err == f"cannot open {place / 'names.db'}: {place / 'names.db'}.lock: Read-only file system"


def test_a_database_that_may_only_be_read(refusal, tmp_path):
    """As a user of whom rights are asked."""
    if os.getuid() != 0:
        pytest.skip("only the superuser can become somebody else")
    with name_server(persistent=1, nobroadcast=True):
        pass
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories are not for other users
        place = Path(name).resolve()
        place.chmod(0o777)
        shutil.copy(tmp_path / "Pyro_NS_database" / "names.db", place / "names.db")
        (place / "names.db").chmod(0o444)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        code, _, err = refusal("-d", place, command=[*nobody, *MODULE], GPYRO_STORAGE=str(place))
    assert code == 1
    assert err.startswith(f"cannot open {place / 'names.db'}: it may only be read")


# ---- who may use it


def test_passphrases(tool, tmp_path):
    secret = tmp_path / "passphrase"
    secret.write_text("open sesame\n")
    for options in (["-i", "open sesame"], ["--identification-file", secret], ["--identification-file=-"]):
        with tool(*options) as server:
            if options[0].endswith("-"):
                server.say("open sesame")
                server.end_input()
            assert "Requiring connection authentication." in started(server)
            client("open sesame").ping()
            with pytest.raises(ConnectionDeniedError):
                client()
            server.send_signal(signal.SIGTERM)
            server.ended_well()


def test_everybody_may_not_connect_from_elsewhere_by_oversight(tool, refusal, tmp_path):
    code, out, err = refusal("-n", "0.0.0.0", "-rx")
    assert (code, out) == (1, "*** Pyro Name Server ***\n")
    assert "everybody who can reach this machine could register and remove names" in err
    assert "--identification-file" in err
    assert not (tmp_path / "Pyro_NS_URI").exists()
    with tool("-n", "0.0.0.0", "-rx", "-i", "secret") as server:
        started(server)


GUARDS = """
    from gpyro.naming import BCReqValidator
    from gpyro.protocol import DefaultConnValidator

    class Nobody(DefaultConnValidator):
        def acceptHost(self, daemon, connection):
            return 0, 2

    class Silent(BCReqValidator):
        def acceptLocationCmd(self):
            return 0

    def NSGuard():
        return Nobody()

    def BCGuard():
        return Silent()
"""


def plugin(directory, text, name="guards"):
    path = directory / f"{name}.py"
    path.write_text("\n".join(line.removeprefix("    ") for line in text.splitlines()))
    return path


@pytest.mark.parametrize("command", [MODULE, LAUNCHER], ids=["module", "launcher"])
def test_a_security_module_of_the_current_directory(tool, env, tmp_path, command):
    path = plugin(tmp_path, GUARDS)
    with tool("-vs", "guards", command=command, directory=tmp_path, PYTHONPATH=str(ROOT)) as server:
        lines = started(server)
        assert f"Connections are judged by Nobody of {path}." in lines
        assert f"Broadcasts are judged by Silent of {path}." in lines
        with pytest.raises(ConnectionDeniedError):
            NameServerProxy(f"PYROLOC://127.0.0.1:{port_of(env)}/:Pyro.NameServer")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "there is no module 'guards'"),
        ("import nowhere_at_all", "module 'guards' cannot be imported: No module named 'nowhere_at_all'"),
        ("1/0", "module 'guards' cannot be imported: ZeroDivisionError: division by zero"),
        ("def f(:", "module 'guards' cannot be imported: SyntaxError: "),
        ("def NSGuard(): pass", "has no function BCGuard"),
        ("def BCGuard(): pass\nNSGuard = 5", "has no function NSGuard"),
        ("def BCGuard(): pass\ndef NSGuard(): return 5", "NSGuard() gave int, neither a DefaultConnValidator nor None"),
        ("def NSGuard(): pass\ndef BCGuard(): return 5", "BCGuard() gave int, neither a BCReqValidator nor None"),
        ("def BCGuard(): pass\ndef NSGuard(): 1/0", "NSGuard() failed: ZeroDivisionError: division by zero"),
    ],
)
def test_security_modules_that_cannot_be_used(monkeypatch, capsys, tmp_path, text, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "guards", raising=False)
    path_before = list(sys.path)
    if text is not None:
        plugin(tmp_path, text)
    assert naming.main(["-s", "guards"]) == 2
    monkeypatch.delitem(sys.modules, "guards", raising=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gpyro-ns: --security: ")
    assert told in err
    assert err.count("\n") == 1
    assert sys.path == path_before


# ---- bad input


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-p", "x"], "--port must be a whole number from 0 to 65535, not 'x'"),
        (["-p", "70000"], "--port must be a whole number from 0 to 65535, not '70000'"),
        (["-b", "0"], "--broadcast-port must be a whole number from 1 to 65535, not '0'"),
        (["-n", ""], "--host: invalid address ''"),
        (["-n", "a b"], "--host: invalid address 'a b'"),
        (["-c", "no/host"], "--broadcast-address: invalid address 'no/host'"),
        (["-c", "./u:/a/b"], "--broadcast-address: expected a host name, an IP address"),
        (["-i", ""], "--identification: a passphrase has 1 to 128 bytes"),
        (["--identification-file", "/no/such/file"], "--identification-file: /no/such/file cannot be read"),
        (["-i", "a", "--identification-file", "b"], "--identification and --identification-file are two ways"),
        (["-1"], "-1, --primary: name servers are not run in pairs; several of them are to share one store"),
        (["-1", "host:9090"], "-1, --primary: name servers are not run in pairs"),
        (["-2"], "-2, --secondary: name servers are not run in pairs"),
        (["-2host"], "-2, --secondary: name servers are not run in pairs"),
    ],
)
def test_an_unusable_value_is_one_clear_line(capsys, words, told):
    assert naming.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gpyro-ns: {told}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--bogus"], ["stray"], ["-p"], ["-d", "a", "b"], ["-kk"]])
def test_arguments_that_do_not_fit_show_the_usage(capsys, words):
    assert naming.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage:" in err


def test_a_port_in_use(refusal):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = refusal("-rp", port)
    assert code == 1
    assert "The Name Server appears to be already running on this host." in out
    assert err == f"Couldn't start Pyro daemon: 127.0.0.1 port {port}: Address already in use"


def test_a_second_one_on_the_segment(tool, refusal, env):
    with tool("-n", "127.0.0.2") as first:
        started(first)
        # The file that tells the first one's URI is not for the second.
        code, out, err = refusal("-n", "127.0.0.3", GPYRO_NS_URIFILE="other", GPYRO_BC_TIMEOUT="10")
        assert code == 1
        assert out.splitlines() == [
            "*** Pyro Name Server ***",
            "The Name Server appears to be already running on this segment.",
            f"(host: 127.0.0.2 port: {port_of(env)})",
        ]
        assert err == "Cannot start multiple Name Servers in the same network segment."
        for option in ("-m", "-r"):
            with tool("-n", "127.0.0.3", option, "-x", GPYRO_NS_URIFILE="other", GPYRO_BC_TIMEOUT="10") as second:
                found = "The Name Server appears to be already running on this segment."
                assert (found in started(second)) == (option == "-m")


def test_a_host_that_is_not_this_machine(refusal):
    code, _, err = refusal("-rx", "-n", "192.0.2.77", "-i", "secret")
    assert code == 1
    assert err.startswith("Couldn't start Pyro daemon: 192.0.2.77 port")


def test_a_broadcast_port_in_use(refusal):
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind((BROADCAST, 0))
        port = taken.getsockname()[1]
        code, _, err = refusal("-r", "-b", port)
    assert code == 1
    assert err == f"cannot start broadcast server: {BROADCAST} port {port}: Address already in use"


def test_a_storage_that_is_none(refusal, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = refusal("-r", GPYRO_STORAGE=str(tmp_path / "file"))
    assert code == 1
    assert err == f"PYRO_STORAGE is not a directory [{tmp_path / 'file'}]"


def test_a_configuration_that_cannot_be_used(refusal):
    code, _, err = refusal(GPYRO_NS_LEASE="short")
    assert code == 1
    assert "GPYRO_NS_LEASE" in err


def test_a_uri_file_that_cannot_be_written_is_only_logged(tool, env, tmp_path):
    with tool(GPYRO_NS_URIFILE="no/such/directory", GPYRO_TRACELEVEL="1") as server:
        lines = started(server)
        assert any(line.startswith("URI is: ") for line in lines)
        assert not any("URI written to" in line for line in lines)
        client().ping()
        log = (tmp_path / "Pyro_log").read_text()
        assert f"the URI cannot be written to {tmp_path}/no/such/directory: No such file or directory" in log
        server.send_signal(signal.SIGTERM)
        server.ended_well()


def test_datagrams_of_garbage(tool, env):
    with tool() as server:
        started(server)
        place = (BROADCAST, int(env["GPYRO_NS_BC_PORT"]))
        with gevent.socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.settimeout(30)
            for data in (b"", b"\0" * 5000, bytes(range(256)), b"LOCATION", b"location\0", b"shutdown now"):
                sock.sendto(data, place)
            sock.sendto(b"location", place)
            assert sock.recv(1000).startswith(b"PYRO://127.0.0.1:")
        client().ping()
        server.send_signal(signal.SIGTERM)
        assert server.end() == (0, "Name Server gracefully stopped.\n", "")


def test_the_classes_of_a_server_that_was_run_as_a_module_are_those_of_others(tool):
    with tool() as server:
        started(server)
        ns = client()
        ns.register("a", URI)
        assert ns._getSystemMeta("a").type == 1
