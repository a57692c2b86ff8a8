"""The names of Pyro 3's util module in one place."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import gpyro
from gpyro import util
from gpyro.constants import VERSION
from tests.support import ROOT

GUID = r"[0-9a-f]{8}(-[0-9a-f]{8}){3}\n"

NAMES = [
    *("ArgParser", "Log", "SystemLogger", "UserLogger", "excepthook", "formatTraceback", "genguid_scripthelper"),
    *("getEventObject", "getGUID", "getLockObject", "getPyroTraceback", "getRLockObject", "supports_compression"),
    "supports_multithreading",
]


def test_all_names_are_there_and_nothing_else() -> None:
    assert sorted(util.__all__) == NAMES
    assert all(hasattr(util, name) for name in NAMES)


def test_what_is_supported() -> None:
    assert util.supports_multithreading()
    assert not util.supports_compression()


# ---- genguid


def test_genguid_prints_a_guid(capsys: pytest.CaptureFixture[str]) -> None:
    assert util.genguid_scripthelper([]) == 0
    first = capsys.readouterr()
    assert re.fullmatch(GUID, first.out)
    assert first.err == ""
    util.genguid_scripthelper([])
    assert capsys.readouterr().out != first.out


@pytest.mark.parametrize("argument", ["-h", "--help"])
def test_genguid_helps(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert util.genguid_scripthelper([argument]) == 0
    assert capsys.readouterr() == (util.GENGUID_USAGE, "")


@pytest.mark.parametrize("arguments", [["x"], ["-x"], ["-h", "x"], [""]])
def test_genguid_takes_nothing_else(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert util.genguid_scripthelper(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "gpyro-genguid: it takes no arguments\nUsage: gpyro-genguid [-h | --help | --version]\n"


def test_genguid_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert util.genguid_scripthelper(["--version"]) == 0
    assert capsys.readouterr() == (f"gpyro {VERSION}\n", "")


def test_the_script() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts/gpyro-genguid"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(GUID, done.stdout)
    assert run("--help").stdout == util.GENGUID_USAGE
    assert (run("x").returncode, run("x").stdout) == (2, "")
    assert "scripts/gpyro-genguid" in (ROOT / "setup.cfg").read_text()


def test_locks_and_events() -> None:
    assert (util.getLockObject().acquire(), util.getRLockObject().acquire()) == (True, True)
    assert not util.getEventObject().is_set()
    assert util.getLockObject() is not util.getLockObject()


def test_the_configuration_module_is_there_without_being_asked_for() -> None:
    assert gpyro.configuration.config is gpyro.config
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        gpyro.nonesuch
