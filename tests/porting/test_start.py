"""How programs begin: initServer and initClient, the configuration, the two logs, and the tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.porting.plays import served
from tests.programs import program
from tests.support import ROOT

LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[\d+:[^]]+\] \*\* (NOTE|WARN|ERR!) \*\* "


def storage(path: Path, **items: str) -> dict[str, str]:
    """An environment with this storage, as for Pyro 3."""
    return {"PYRO_STORAGE": str(path), **{f"PYRO_{name}": value for name, value in items.items()}}


def test_a_server_and_a_client_that_say_what_they_are(tmp_path):
    server = """
    import gpyro.core, gpyro.constants
    class Thing(gpyro.core.ObjBase):
        def version(self):
            return gpyro.constants.VERSION
    gpyro.core.initServer(banner=1)
    gpyro.core.initServer(banner=1)         # does nothing any more
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing(), "thing"), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    gpyro.core.initClient(1)
    gpyro.core.initClient(1)
    print(gpyro.core.getProxyForURI(sys.argv[1]).version(), gpyro.config._PYRO_INITIALIZED)
    """
    environment = storage(tmp_path / "made", TRACELEVEL="3")
    with program(server, environment=environment) as running:
        banner = running.line()
        assert banner.startswith("gpyro Server Initialized. Using gpyro V")
        version = banner.rpartition("V")[2]
        with program(client, running.line(), environment=environment) as user:
            assert user.ended_well().splitlines() == [
                f"gpyro Client Initialized. Using gpyro V{version}",
                f"{version} 1",
            ]
    log = (tmp_path / "made" / "Pyro_log").read_text()
    assert log.startswith("-" * 60 + " NEW SESSION\n")
    assert "\nThis is initServer.\n" in log
    assert "\nThis is initClient.\n" in log
    assert re.search(r"\n ?PYRO_PORT = 0\n", log)
    assert log.count("Init done.\n" + "-" * 70 + "\n") == 2
    assert re.search(f"\n{LINE}.*'thing'", log), "a name that is registered nowhere is a warning"


def test_storage_is_checked_for_servers_and_not_for_clients(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    code = """
    import gpyro.core
    gpyro.core.initClient()
    gpyro.core.initServer(storageCheck=0)
    gpyro.core.Daemon(port=0, norange=1)            # which needs no storage
    try:
        gpyro.core.initServer()
    except IOError as x:
        print(x)
    """
    with program(code, environment=storage(file)) as running:
        assert running.ended_well() == f"PYRO_STORAGE is not a directory [{file}]\n"


@pytest.mark.parametrize("first", ["daemon", "proxy"])
def test_who_does_not_begin_explicitly_begins_anyway(tmp_path, first):
    code = {
        "daemon": "gpyro.core.Daemon()",
        "proxy": "gpyro.core.getProxyForURI('PYRO://localhost/x')",
    }[first]
    with program(f"import gpyro.core\n{code}", environment=storage(tmp_path, TRACELEVEL="1")) as running:
        assert running.ended_well() == ""
    which = "Server" if first == "daemon" else "Client"
    assert f"\nThis is init{which}.\n" in (tmp_path / "Pyro_log").read_text()


def test_two_logs_with_levels_and_files_that_may_change(tmp_path):
    code = """
    import gpyro, gpyro.core
    from gpyro.util import Log, UserLogger
    gpyro.core.initServer()
    log = UserLogger()
    log.msg("me", "nobody", "sees", "this")
    gpyro.config.PYRO_USER_TRACELEVEL = 3
    for write in (log.msg, log.warn, log.error):
        write("me", "order", 17, None)
    log.msg("only the message")
    gpyro.config.PYRO_USER_TRACELEVEL = 1
    log.warn("me", "nobody sees this either")
    log.raw("raw, at any level\\n")
    gpyro.config.PYRO_USER_LOGFILE = "other"
    log.error("me", "elsewhere")
    gpyro.config.PYRO_TRACELEVEL = 2
    Log.warn("me", "in the system log")
    Log.msg("me", "not there")
    """
    with program(code, environment=storage(tmp_path)) as running:
        assert running.ended_well() == ""
    user = (tmp_path / "Pyro_userlog").read_text().splitlines()
    assert [re.sub(LINE, r"\1 ", line) for line in user] == [
        "NOTE me ** order 17 None",
        "WARN me ** order 17 None",
        "ERR! me ** order 17 None",
        "NOTE N/A ** only the message",
        "raw, at any level",
    ]
    assert all(re.match(LINE, line) for line in user[:4])
    assert re.fullmatch(LINE + r"me \*\* elsewhere\n", (tmp_path / "other").read_text())
    assert re.fullmatch(LINE + r"me \*\* in the system log\n", (tmp_path / "Pyro_log").read_text())


def test_items_come_from_code_the_environment_a_file_and_the_defaults(tmp_path):
    (tmp_path / "Pyro.conf").write_text(
        "# a comment\nPYRO_PORT_RANGE=7\nPYRO_TRACELEVEL=1\nPYRO_LOGFILE=$STORAGE/own_log\nPYRO_HOST=\n"
    )
    code = """
    import os, sys
    os.chdir(sys.argv[1])
    import gpyro
    gpyro.config.PYRO_PUBLISHHOST = "in.code"
    c = gpyro.config
    print(c.PYRO_PORT_RANGE, c.PYRO_TRACELEVEL, c.PYRO_LOGFILE, c.PYRO_PUBLISHHOST, c.PYRO_MULTITHREADED)
    print(c.PYRO_CONFIG_FILE, repr(c.PYRO_HOST), c.PYRO_ES_QUEUESIZE)
    """
    environment = storage(tmp_path / "files", TRACELEVEL="3", PUBLISHHOST="in.environment")
    with program(code, str(tmp_path), environment=environment) as running:
        assert running.ended_well().splitlines() == [
            f"7 3 {tmp_path}/files/own_log in.code True",
            f"{tmp_path}/Pyro.conf '' 1000",
        ]


def test_tools_and_modules_that_are_run(tmp_path):
    def run(*command: str) -> str:
        environment = {**os.environ, **storage(tmp_path), "GPYRO_PORT": "7777"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    guids = [run(sys.executable, str(ROOT / "scripts" / "gpyro-genguid")) for _ in range(2)]
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){3}\n", guid) for guid in guids)
    assert guids[0] != guids[1]
    shown = run(sys.executable, "-m", "gpyro.configuration").splitlines()
    assert shown[0].startswith("gpyro version: ")
    settings = shown[shown.index("Active configuration settings:") + 1 :]
    assert "PYRO_PORT=7777" in settings
    assert f"PYRO_STORAGE={tmp_path}" in settings
    items = settings[: settings.index("")]
    assert items == sorted(items)
    assert all(re.match("PYRO[A-Z0-9_]+=", item) for item in items)


def test_the_echo_server_as_pyro_3s_users_know_it():
    client = """
    import sys
    import gpyro.core
    for uri in sys.argv[2:]:
        echo = gpyro.core.getProxyForURI(uri)
        print(echo.echo(["hello", 1]))
        try:
            echo.error()
        except ZeroDivisionError as x:
            print(x)
    """
    code = """
    import sys
    from gpyro.test.echoserver import main
    sys.exit(main(["--host", "127.0.0.1", "--port", "0", "--verbose"]))
    """
    with served(code) as running:  # its first line names the object
        assert running.uri == "object name: :Pyro.test.echoserver"
        uris = [running.server.line().rpartition(" ")[2] for _ in range(2)]
        assert [uri.partition("://")[0] for uri in uris] == ["PYRO", "PYROLOC"]
        assert running.server.line() == "echoserver running."
        assert running.client(client, *uris) == "['hello', 1]\ndivision by zero\n" * 2
        assert " echo(" in running.server.line()
        running.server.send_signal(15)
        running.server.ended_well()
