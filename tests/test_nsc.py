from __future__ import annotations

import io
import json
import signal
import threading
import time

import gevent
import pytest

import gpyro
from gpyro import config, nsc
from gpyro.control_output import date
from gpyro.naming import NameSpaceSystemMeta
from gpyro.nsc import main
from tests.naming import free_port, name_server
from tests.programs import AS_COMMAND, program
from tests.support import ROOT, eventually, serving

URI = "PYRO://host:7766/id"
OTHER = "PYRO://host:7766/other"
EVIL = "\x1b[31mred\x07\nnext \u202e"
SHOWN = r"\x1b[31mred\x07\nnext \u202e"

MODULE = ("-m", "gpyro.nsc")


@pytest.fixture
def run(capsys):
    """Run the tool in this process, where the name server is; gives the exit code, the output and the errors."""

    def run(*arguments):
        capsys.readouterr()
        code = main(["-h", "127.0.0.1", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def said(run):
    """Likewise, but only the lines below those on where the name server is; there are to be no errors."""

    def said(*arguments, code=0):
        found, out, err = run(*arguments)
        contacting, where, *lines = out.splitlines()
        assert (found, err) == (code, "")
        assert contacting == "Locator: contacting Pyro Name Server..."
        assert where == f"NS is at 127.0.0.1 (localhost) port {config.PYRO_NS_PORT}"
        return lines

    return said


@pytest.fixture
def objects(run):
    """Likewise, but for scripts."""

    def objects(*arguments, code=0):
        found, out, err = run("--json", *arguments)
        assert (found, err) == (code, "")
        return [json.loads(line) for line in out.splitlines()]

    return objects


@pytest.fixture
def terminal(monkeypatch, said):
    """Likewise, but at a terminal."""

    def terminal(*arguments, code=0):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        return said(*arguments, code=code)

    return terminal


# ---- each command: as documented, for scripts, for people


def test_ping(ns, said, objects):
    assert said("ping") == ["NS is up and running!"]
    (found,) = objects("ping")
    assert found["uri"] == str(ns.URI)
    assert 0 < found["seconds"] < 60


def test_list(ns, said, objects, terminal):
    ns.createGroup("sub")
    ns.createGroup("empty")
    ns.register("b", URI)
    ns.register("a", URI)
    assert said("list") == [":Default --> ( a b [empty] [sub] )"]
    assert said("list", "empty", ":", ":nix", "a", code=1) == [
        ":Default.empty --> ( )",
        ": --> ( [Default] [Pyro] )",
        "## Error from NS:  group not found: ':nix'  ##",
        "## Error from NS:  is no group: ':Default.a'  ##",
    ]
    assert objects("list", ":Default", "nix", code=1) == [
        {"name": ":Default", "groups": ["empty", "sub"], "objects": ["a", "b"]},
        {"name": "nix", "error": "group not found", "detail": None},
    ]
    assert terminal("list", ":Default", "empty") == [
        ":Default (4)",
        "  a      object",
        "  b      object",
        "  empty  group",
        "  sub    group",
        ":Default.empty (0)",
    ]


def test_listall(ns, said, objects, terminal):
    own = str(ns.resolve(":Pyro.NameServer"))
    ns.createGroup(":a")
    # In the order of names, which is that of their groups only in part.
    for name in (":a.b", ":a!b", ":b"):
        ns.register(name, URI)
    names = [":Pyro.NameServer", ":a!b", ":a.b", ":b"]
    uris = [own, URI, URI, URI]
    lines = [f"{name}  -->  {uri}" for name, uri in zip(names, uris, strict=True)]
    assert said("listall") == ["-------------- START DATABASE", *lines, "-------------- END"]
    assert objects("listall") == [{"name": name, "uri": uri} for name, uri in zip(names, uris, strict=True)]
    header, *rows = terminal("listall")
    assert header == "NAME              URI"
    assert rows == [f"{name:16}  {uri}" for name, uri in zip(names, uris, strict=True)]


def test_resolve_goes_on_after_errors(ns, said, objects):
    ns.register("a", URI)
    assert said("resolve", "nix", "a", "a b", ":Default", code=1) == [
        "## can't resolve:  name not found: ':Default.nix'  ##",
        f"a  --> {URI}",
        "## can't resolve:  invalid name: 'a b': ' ' in a name (at character 2)  ##",
        "## can't resolve:  attempt to resolve groupname: ':Default'  ##",
    ]
    assert said("resolve", ":Default.a") == [f":Default.a  --> {URI}"]
    assert objects("resolve", "a", "a b", code=1) == [
        {"name": ":Default.a", "uri": URI},
        {"name": "a b", "error": "invalid name", "detail": "' ' in a name (at character 2)"},
    ]


def test_register_and_remove(ns, said, objects):
    assert said("register", "a", URI) == [f"registered a  -->  {URI}"]
    assert str(ns.resolve("a")) == URI
    assert said("register", "a", URI, code=1) == ["## Error from NS:  name already exists: ':Default.a'  ##"]
    (refused,) = said("register", "b", "nonsense", code=1)
    assert refused.startswith("## Error from NS:  invalid URI: 'nonsense': ")
    assert objects("register", "b", OTHER) == [{"name": ":Default.b", "uri": OTHER}]
    assert said("remove", "a", "a", ":Pyro", code=1) == [
        "a unregistered.",
        "## Can't unregister:  name not found: ':Default.a'  ##",
        "## Can't unregister:  is a group, not an object: ':Pyro'  ##",
    ]
    assert objects("remove", "b", "b", code=1) == [
        {"name": ":Default.b"},
        {"name": "b", "error": "name not found", "detail": None},
    ]
    assert ns.list() == []


def test_groups(ns, said, objects):
    assert said("creategroup", "g", "g", "g.h", code=1) == [
        "g created.",
        "## Error from NS:  group already exists: ':Default.g'  ##",
        "g.h created.",
    ]
    assert objects("creategroup", ":x.y", ":x", code=1) == [
        {"name": ":x.y", "error": "(parent)group not found", "detail": None},
        {"name": ":x"},
    ]
    assert said("deletegroup", ":", "g", code=1) == [
        "## Error from NS:  not allowed to delete root group: ':'  ##",
        "g deleted.",
    ]
    assert objects("deletegroup", ":x") == [{"name": ":x"}]
    assert ns.list() == []


def test_metadata(ns, said, objects, terminal):
    ns.register("a", URI)
    ns._setSystemMeta("a", NameSpaceSystemMeta(1e9, "me", 1, 1e9 + 1))
    assert said("setmeta", "a", "12") == ["Metadata of a set."]
    assert ns.getMeta("a") == "12"
    assert said("setmeta", "--", "a", "-5") == ["Metadata of a set."]
    assert objects("setmeta", "a", "a b") == [{"name": ":Default.a", "meta": "a b"}]
    assert said("setmeta", "nix", "x", code=1) == ["## Error from NS:  name not found: ':Default.nix'  ##"]
    assert said("showmeta", "nix", "a", code=1) == [
        "## Error from NS:  name not found: ':Default.nix'  ##",
        "META INFO OF :Default.a",
        "system meta info : [type=1 timestamp=1000000000.0 owner=me seen=1000000001.0]",
        "  user meta info : a b",
    ]
    assert objects("showmeta", "a") == [
        {"name": ":Default.a", "type": "object", "timestamp": 1e9, "owner": "me", "seen": 1e9 + 1, "meta": "a b"}
    ]
    assert terminal("showmeta", "a") == [
        ":Default.a",
        "  type        object",
        f"  registered  {date(1e9)}",
        "  owner       me",
        f"  last seen   {date(1e9 + 1)}",
        "  metadata    a b",
    ]


def test_metadata_of_other_kinds(ns, said, objects, terminal):
    for value, text, member in (
        (None, "None", None),
        ([1, {"a": 2}], "[1, {'a': 2}]", [1, {"a": 2}]),
        (1j, "1j", "1j"),
    ):
        ns.setMeta(":Default", value)
        assert said("showmeta", ":Default")[-1] == f"  user meta info : {text}"
        assert objects("showmeta", ":Default")[0]["meta"] == member
    assert objects("showmeta", ":Default")[0]["type"] == "group"
    ns._setSystemMeta(":Default", NameSpaceSystemMeta(9e14))  # no year has so many digits
    assert "  registered  900000000000000.0" in terminal("showmeta", ":Default")


def test_resync_is_refused(ns, said, objects):
    (line,) = said("resync", code=1)
    assert "several of them are to share one store" in line
    (found,) = objects("resync", code=1)
    assert found["name"] is None
    assert "share one store" in found["error"]


def test_shutdown(env, run, objects):
    with name_server():
        assert run("shutdown") == (0, "Result from system command shutdown : Will shut down shortly\n", "")
    config.PYRO_NS_PORT = free_port()
    with name_server(keep=1, nobroadcast=True):
        assert run("shutdown") == (1, "Result from system command shutdown : Shutdown request denied\n", "")
        assert objects("shutdown", code=1) == [{"reply": "Shutdown request denied"}]


def test_nothing_that_a_terminal_would_obey_is_written(ns, said, terminal, objects):
    ns.register("a", URI)
    ns.setMeta("a", EVIL)
    assert said("showmeta", "a")[-1] == f"  user meta info : {SHOWN}"
    assert terminal("showmeta", "a")[-1] == f"  metadata    {SHOWN}"
    assert objects("showmeta", "a")[0]["meta"] == EVIL
    (line,) = said("resolve", "a\x1b]0;", code=1)
    assert line.isprintable()


# ---- where the name server is, and whether it lets in


def test_it_searches(ns, capsys):
    assert main(["ping"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Locator: searching Pyro Name Server...",
        f"NS is at 127.0.0.1 (localhost) port {config.PYRO_NS_PORT}",
        "NS is up and running!",
    ]


def test_by_broadcast_only(env, capsys):
    address, port = config.PYRO_NS_BC_ADDR, config.PYRO_NS_BC_PORT
    with name_server(nsport=0) as starter:
        capsys.readouterr()
        for options in (["-c", address], ["-p", str(port)], ["-c", address, "-p", str(port)]):
            assert main([*options, "--json", "ping"]) == 0
            assert json.loads(capsys.readouterr().out)["uri"] == str(starter.uri)
        assert main(["-c", address, "shutdown"]) == 0
        assert "Will shut down shortly" in capsys.readouterr().out


def test_in_any_thread(ns, capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["-h", "127.0.0.1", "--json", "ping"])))
    thread.start()
    eventually(lambda: not thread.is_alive(), 30)
    assert codes == [0]
    assert json.loads(capsys.readouterr().out)["uri"] == str(ns.URI)


def test_there_is_none(env, capsys):
    begun = time.monotonic()
    for options, told in (
        (["-h", "localhost"], "There is a problem: could not find NameServer on host localhost: "),
        (["-h", "localhost", "-p", str(free_port())], "There is a problem: connection failed: localhost:"),
        ([], "There is a problem: could not find NameServer; tried "),
        (["-c", "127.255.255.255"], "There is a problem: could not find NameServer; tried a broadcast to 127."),
        (["-p", env["GPYRO_NS_BC_PORT"]], "There is a problem: Name Server not responding: "),
    ):
        for command in ("ping", "shutdown"):
            assert main([*options, command]) == 3
            err = capsys.readouterr().err
            assert err.startswith(told)
            assert err.count("\n") == 1
    assert time.monotonic() - begun < 60


def test_another_daemon_is_no_name_server(env, capsys):
    with serving(object()) as daemon:
        assert main(["-h", "127.0.0.1", "-p", str(daemon.port), "ping"]) == 3
    assert "no object found by this name" in capsys.readouterr().err


def test_passphrases(env, tmp_path, run, monkeypatch):
    file = tmp_path / "passphrase"
    file.write_text("open sesame\n")
    with name_server(identification="open sesame"):
        assert run("-i", "open sesame", "ping")[0] == 0
        assert run("--identification-file", str(file), "ping")[0] == 0
        monkeypatch.setattr("sys.stdin", io.StringIO("open sesame\n"))
        assert run("--identification-file", "-", "ping")[0] == 0
        for options in ((), ("-i", "wrong")):
            for command in ("ping", "shutdown"):
                code, _, err = run(*options, command)
                told, hint = err.splitlines()
                assert code == 3
                assert told.startswith("Could not connect to the server: security reasons: ")
                assert hint == "Supply correct authentication ID?"
        assert run("-i", "open sesame", "shutdown")[0] == 0
    config.PYRO_NS_PORT = free_port()
    with name_server(nobroadcast=True):
        code, _, err = run("-i", "open sesame", "ping")
        assert code == 3
        assert "did not prove" in err


def test_a_name_server_that_goes_away_meanwhile(env, capsys):
    with name_server() as starter:

        def stop(name):
            gevent.spawn(starter.stop).join()

        starter.server.unregister = stop
        assert main(["-h", "127.0.0.1", "remove", "a", "b"]) == 3
    assert capsys.readouterr().err.startswith("There is a problem: ")


@pytest.mark.parametrize("error", [ValueError("what"), RuntimeError("what"), BrokenPipeError("what")])
def test_whatever_the_name_server_raises_is_told(env, said, error):
    def resolve(name):
        raise error

    with name_server() as starter:
        starter.server.resolve = resolve
        assert said("resolve", "a", "b", code=1) == [f"## can't resolve:  {type(error).__name__}: what  ##"] * 2


# ---- arguments that cannot be used


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "gpyro-nsc: these arguments do not fit together"),
        ("nonsense", "gpyro-nsc: there is no command 'nonsense'"),
        ("__init__", "gpyro-nsc: there is no command '__init__'"),
        ("connect", "gpyro-nsc: there is no command 'connect'"),
        ("--nonsense ping", "gpyro-nsc: "),
        ("-p 0 ping", "gpyro-nsc: --port must be a whole number from 1 to 65535, not '0'"),
        ("-p x ping", "gpyro-nsc: --port must be a whole number from 1 to 65535, not 'x'"),
        ("-h a:b ping", "gpyro-nsc: --host: invalid address"),
        ("-c a:b ping", "gpyro-nsc: --broadcast-address: invalid address"),
        ("-i a --identification-file b ping", "gpyro-nsc: --identification and --identification-file"),
        ("--identification-file /nowhere/at/all ping", "gpyro-nsc: --identification-file: /nowhere/at/all"),
        ("resolve", "No arguments, nothing to resolve\n"),
        ("remove", "No arguments, nothing to remove\n"),
        ("creategroup", "No arguments, nothing to create\n"),
        ("deletegroup", "No arguments, nothing to delete\n"),
        ("showmeta", "No arguments, nothing to show\n"),
        ("register a", "Register needs 2 args: name URI\n"),
        ("register a b c", "Register needs 2 args: name URI\n"),
        ("setmeta a", "Setmeta needs 2 args: name metadata\n"),
        ("ping a", "Ping needs no args\n"),
        ("listall a", "Listall needs no args\n"),
        ("resync a", "Resync needs no args\n"),
        ("shutdown a", "Shutdown needs no args\n"),
        ("watch a b", "Watch needs at most 1 arg: group\n"),
    ],
)
def test_unusable_arguments(arguments, told, capsys):
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(told)


def test_unusable_default_group(ns, said):
    config.PYRO_NS_DEFAULTGROUP = ":a"
    assert said("list", code=1) == ["## Error from NS:  group not found: ':a'  ##"]


def test_help_and_version(capsys):
    assert main(["help"]) == 0
    text = capsys.readouterr().out
    for command in nsc._COMMANDS:
        assert f"\n  {command} " in text
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert not ended.value.code
    assert capsys.readouterr().out.strip() == text.strip()
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"gpyro {gpyro.constants.VERSION}\n"


def test_every_command_is_documented():
    page = (ROOT / "docs" / "naming.md").read_text()
    for command in nsc._COMMANDS:
        assert f"| `{command}" in page
    assert "scripts/gpyro-nsc" in (ROOT / "setup.cfg").read_text()


# ---- where it is said to be


@pytest.mark.parametrize("error", [OSError("none"), UnicodeError("no name")])
def test_a_machine_without_name(ns, monkeypatch, capsys, error):
    def gethostbyaddr(place):
        raise error

    monkeypatch.setattr(nsc.socket, "gethostbyaddr", gethostbyaddr)
    assert main(["-h", "127.0.0.1", "ping"]) == 0
    assert f"NS is at 127.0.0.1 (??) port {config.PYRO_NS_PORT}\n" in capsys.readouterr().out


def test_a_machine_whose_name_nobody_tells(ns, monkeypatch, capsys):
    monkeypatch.setattr(nsc, "NAME_SECONDS", 0.01)
    monkeypatch.setattr(nsc.socket, "gethostbyaddr", lambda place: gevent.sleep(600))
    assert main(["-h", "127.0.0.1", "ping"]) == 0
    assert f"NS is at 127.0.0.1 (??) port {config.PYRO_NS_PORT}\n" in capsys.readouterr().out


# ---- as a process


def patient(env):
    """For a process, which may look for the name server while this one has to wait for a processor."""
    return {**env, "GPYRO_BC_TIMEOUT": "20"}


@pytest.mark.parametrize("how", [MODULE, (str(ROOT / "scripts" / "gpyro-nsc"),)])
def test_ctrl_c_ends_a_watch(env, ns, how):
    place = ("-h", "127.0.0.1", "-p", str(config.PYRO_NS_PORT))
    with program(AS_COMMAND, *how, *place, "watch", environment=patient(env)) as watch:
        assert watch.line() == "Locator: contacting Pyro Name Server..."
        watch.line()
        assert watch.line().endswith("  watching :, 4 names")
        ns.register("a", URI)
        assert watch.line().endswith(f"  registered :Default.a  -->  {URI}")
        watch.send_signal(signal.SIGINT)
        assert watch.end() == (130, "", "")


def test_nobody_reads_on(env, ns):
    for number in range(3000):
        ns.register(f"name-of-some-length-{number}", URI)
    for command in ("listall", "--json listall", "help"):
        with program(AS_COMMAND, *MODULE, *command.split(), environment=patient(env)) as listing:
            if command != "help":
                listing.line()
            listing.process.stdout.close()
            eventually(lambda: listing.process.poll() is not None, 30)
            assert listing.process.returncode == 141
            assert listing.process.stderr.read() == ""
            listing.process.stdout = None


def test_ctrl_c_when_nobody_reads_on(env, ns):
    for number in range(3000):
        ns.register(f"name-of-some-length-{number}", URI)
    with program(AS_COMMAND, *MODULE, "listall", environment=patient(env)) as listing:
        while "START" not in listing.line():
            pass
        listing.send_signal(signal.SIGINT)
        code, _, err = listing.end()
        assert (code, err) == (130, "")


def test_output_that_cannot_be_written(env, ns):
    full = "import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
    with program(full + AS_COMMAND, *MODULE, "ping", environment=patient(env)) as ping:
        error = "gpyro-nsc: the output cannot be written: No space left on device\n"
        assert ping.end() == (1, "", error)
    with program(full + AS_COMMAND, *MODULE, "--help", environment=patient(env)) as asked:
        assert asked.end() == (1, "", "gpyro-nsc: [Errno 28] No space left on device\n")


def test_no_output_at_all(env, ns):
    with program(
        "import os\nos.close(1)\n" + AS_COMMAND, *MODULE, "register", "a", URI, environment=patient(env)
    ) as register:
        assert register.end() == (0, "", "")
    assert str(ns.resolve("a")) == URI


def test_unusable_configuration():
    with program(AS_COMMAND, *MODULE, "ping", environment={"GPYRO_NS_PORT": "x"}) as ping:
        code, out, err = ping.end()
    assert (code, out) == (2, "")
    assert "GPYRO_NS_PORT" in err
    assert err.count("\n") == 1
