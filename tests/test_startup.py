from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from gpyro import core, logs, startup
from gpyro.constants import VERSION
from gpyro.items import ITEMS
from gpyro.settings import Config
from gpyro.startup import initClient, initServer
from tests.support import run_python


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A process in which nothing was initialized, with a configuration of its own."""
    fresh = Config({"PYRO_STORAGE": str(tmp_path)})
    monkeypatch.setattr(logs, "config", fresh)
    monkeypatch.setattr(startup, "config", fresh)
    for flag in ("_client_is_ready", "_server_is_ready", "_storage_is_checked", "_settings_are_logged"):
        monkeypatch.setattr(startup, flag, False)
    logs.SystemLogger._file._complained = ("", 0.0)
    return fresh


def log(config: Config) -> str:
    return Path(config.PYRO_LOGFILE).read_text()


# ---- once


def test_nothing_is_printed_unless_asked_for(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert config._PYRO_INITIALIZED == 0
    initServer()
    assert config._PYRO_INITIALIZED == 1
    initClient()
    assert capsys.readouterr() == ("", "")
    assert os.listdir(config.PYRO_STORAGE) == []


def test_banners(capsys: pytest.CaptureFixture[str], config: Config) -> None:
    initClient(banner=1)
    assert config._PYRO_INITIALIZED == 1
    assert capsys.readouterr().out == f"gpyro Client Initialized. Using gpyro V{VERSION}\n"
    initServer(1)
    assert capsys.readouterr().out == f"gpyro Server Initialized. Using gpyro V{VERSION}\n"
    initServer(banner=1)
    initClient(1)
    assert capsys.readouterr().out == ""


def test_the_header_of_a_session(config: Config) -> None:
    config.PYRO_TRACELEVEL = 1
    config.PYRO_PUBLISHHOST = "example.org"
    for _ in range(2):
        initServer()
    lines = log(config).splitlines()
    assert lines[0] == "-" * 60 + " NEW SESSION"
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d gpyro initializing, version {re.escape(VERSION)}", lines[1])
    assert lines[2:4] == ["This is initServer.", "Configuration settings are as follows:"]
    assert [line.split(" = ")[0] for line in lines[4:-2]] == [" " + name for name in ITEMS]
    assert " PYRO_PUBLISHHOST = example.org" in lines
    assert " PYRO_MULTITHREADED = 1" in lines
    assert lines[-2:] == ["Init done.", "-" * 70]
    before = log(config)
    initClient()
    initClient()
    added = log(config).removeprefix(before).splitlines()
    assert [added[0], *added[2:]] == [lines[0], "This is initClient.", "Init done.", lines[-1]]


def test_without_a_trace_level_there_is_no_header(config: Config) -> None:
    initServer()
    config.PYRO_TRACELEVEL = 3
    initServer()
    assert not os.path.exists(config.PYRO_LOGFILE)


def test_a_log_that_cannot_be_written_is_only_told_of(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    config.PYRO_TRACELEVEL = 1
    config.PYRO_LOGFILE = "nonesuch/log"
    initServer()
    initClient()
    err = capsys.readouterr().err
    assert err == f"gpyro: cannot write the log {config.PYRO_LOGFILE} (PYRO_LOGFILE): No such file or directory\n"


# ---- the storage


def test_the_storage_is_made(config: Config, tmp_path: Path) -> None:
    config.PYRO_STORAGE = str(tmp_path / "new")
    initServer()
    assert os.listdir(tmp_path) == ["new"]
    assert os.listdir(tmp_path / "new") == []


def test_a_storage_that_is_none(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    config.PYRO_STORAGE = str(tmp_path / "file")
    with pytest.raises(OSError, match=r"^PYRO_STORAGE is not a directory \[.*/file\]$"):
        initServer()
    config.PYRO_STORAGE = str(tmp_path / "a/b")
    with pytest.raises(OSError, match=r"^PYRO_STORAGE is not a directory \[.*/a/b\]: it cannot be made: No such file"):
        initServer()
    assert config._PYRO_INITIALIZED == 0
    config.PYRO_STORAGE = str(tmp_path)

    def refuse(dir: str) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", refuse)
        with pytest.raises(OSError, match=r"^no write access to PYRO_STORAGE \[.*\]: Permission denied$"):
            initServer()
    initServer()
    assert config._PYRO_INITIALIZED == 1


def test_the_storage_is_looked_at_by_the_first_call_that_asks_for_it(config: Config, tmp_path: Path) -> None:
    config.PYRO_STORAGE = str(tmp_path / "a/b")
    initServer(storageCheck=0)
    initClient()
    with pytest.raises(OSError, match="PYRO_STORAGE is not a directory"):
        initServer()
    (tmp_path / "a").mkdir()
    initServer()
    (tmp_path / "a/b").rmdir()
    initServer()


# ---- daemons and proxies


def test_the_first_daemon_and_the_first_proxy_do_it(config: Config, tmp_path: Path) -> None:
    config.PYRO_STORAGE = str(tmp_path / "a/b")  # which neither needs
    proxy = core.getProxyForURI("PYROLOC://localhost:1/x")
    assert config._PYRO_INITIALIZED == 1
    assert (startup._client_is_ready, startup._server_is_ready) == (True, False)
    daemon = core.Daemon(port=0, norange=1)
    assert startup._server_is_ready
    assert not startup._storage_is_checked
    daemon.closedown()
    del proxy


def test_a_program_that_logs_has_both_headers(tmp_path: Path) -> None:
    code = """
        from gpyro import core
        daemon = core.Daemon(port=0, norange=1)
        proxies = [core.getProxyForURI("PYROLOC://localhost:1/x") for _ in range(3)]
        core.initServer(1)
        core.initClient(1)
        daemon.closedown()
        """
    environment = {"PYRO_STORAGE": str(tmp_path), "PYRO_TRACELEVEL": "1"}
    assert run_python(code, environment=environment) == (0, "", "")
    text = (tmp_path / "Pyro_log").read_text()
    assert re.findall(r"This is init\w+\.", text) == ["This is initServer.", "This is initClient."]
    assert text.count("Configuration settings") == 1


@pytest.mark.parametrize("patching", ["unpatched", "patched"])
def test_threads_that_begin_at_once_begin_once(patching: str, tmp_path: Path) -> None:
    code = """
        import sys
        if sys.argv[1] == "patched":
            from gevent import monkey
            monkey.patch_all()
        import threading
        import gevent
        from gpyro import core
        def work():
            gevent.joinall([gevent.spawn(begin) for begin in (core.initServer, core.initClient) * 5])
        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """
    environment = {"PYRO_STORAGE": str(tmp_path), "PYRO_TRACELEVEL": "1"}
    assert run_python(code, patching, environment=environment) == (0, "", "")
    text = (tmp_path / "Pyro_log").read_text()
    assert sorted(re.findall(r"This is init\w+\.", text)) == ["This is initClient.", "This is initServer."]
