"""`python -m gpyro.configuration`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpyro import configuration, settings
from gpyro.constants import VERSION
from gpyro.items import ITEMS


def run(directory: Path, *arguments: str, **environment: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of output and of errors."""
    clean = {name: value for name, value in os.environ.items() if "PYRO" not in name}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "gpyro.configuration", *arguments],
        cwd=directory,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def settings_in(out: list[str]) -> list[str]:
    start = out.index("Active configuration settings:")
    return [line for line in out[start + 1 :] if "=" in line]


def test_without_a_file(tmp_path: Path) -> None:
    code, out, err = run(tmp_path)
    assert (code, err) == (0, [])
    assert out[:3] == [f"gpyro version: {VERSION}", "", "Active configuration settings:"]
    assert [line.split("=")[0] for line in out[3:]] == sorted(ITEMS)
    assert out[3:] == settings_in(out)
    assert "PYRO_PORT=7766" in out
    assert "PYRO_MULTITHREADED=1" in out
    assert "PYRO_NS_HOSTNAME=" in out
    assert f"PYRO_STORAGE={tmp_path}" in out
    assert f"PYRO_LOGFILE={tmp_path}/Pyro_log" in out
    assert os.listdir(tmp_path) == []


def test_what_is_shown_can_stand_in_a_file(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, PYRO_PORT="8000")
    assert out[-2:] == ["Where those come from that are no defaults:", "PYRO_PORT: environment variable PYRO_PORT"]
    lines = settings_in(out)
    (tmp_path / "Pyro.conf").write_text("\n".join(line for line in lines if not line.startswith("PYRO_CONFIG")))
    code, out, err = run(tmp_path)
    assert (code, err) == (0, [])
    assert out[1:4] == [f"ConfigReader: checking file {tmp_path}/Pyro.conf", "ok!", ""]
    lines.remove("PYRO_CONFIG_FILE=")
    assert settings_in(out) == sorted([*lines, f"PYRO_CONFIG_FILE={tmp_path}/Pyro.conf"])
    line = lines.index("PYRO_PORT=8000") + 1
    assert f"PYRO_PORT: {tmp_path}/Pyro.conf, line {line}" in out


def test_a_file_with_some_items(tmp_path: Path) -> None:
    (tmp_path / "my.conf").write_text("PYRO_PORT=8000\nPYRO_MOBILE_CODE=1\n")
    code, out, err = run(tmp_path, PYRO_CONFIG_FILE="my.conf")
    assert code == 0
    assert "MISSING item: PYRO_HOST" in out
    assert "MISSING item: PYRO_PORT" not in out
    assert "MISSING item: PYRO_CONFIG_FILE" not in out
    assert "dropped item: PYRO_MOBILE_CODE: code never travels; install the modules on both sides" in out
    assert len(err) == 1
    assert err[0].startswith(f"{tmp_path}/my.conf, line 2: the configuration item PYRO_MOBILE_CODE is dropped")
    assert "ok!" in out
    assert "PYRO_PORT=8000" in out


@pytest.mark.parametrize(
    ("text", "said", "told"),
    [
        ("PYRO_NONESUCH=1\nzzz=2", "line 1: unknown config item PYRO_NONESUCH", "['PYRO_NONESUCH', 'zzz']"),
        ("PYRO_PORT=x", "line 1: PYRO_PORT='x': expected a whole number from 0 to 65535", ""),
        ("PYRO_PORT", "line 1: syntax error: 'PYRO_PORT' is not of the form ITEM=VALUE", ""),
    ],
)
def test_a_file_with_errors(tmp_path: Path, text: str, said: str, told: str) -> None:
    (tmp_path / "Pyro.conf").write_text(text)
    code, out, err = run(tmp_path)
    assert code == 1
    assert len(err) == 1
    assert err[0].startswith(f"gpyro.configuration: {tmp_path}/Pyro.conf, {said}")
    assert out[1] == f"ConfigReader: checking file {tmp_path}/Pyro.conf"
    assert (f"items NOT in DEFAULTS: {told}" in out) == bool(told)
    assert "ok!" not in out
    assert "Active configuration settings:" not in out


def test_errors_of_the_environment(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, GPYRO_PROT="1")
    assert (code, out, len(err)) == (1, [f"gpyro version: {VERSION}"], 1)
    assert err[0].startswith("gpyro.configuration: the environment variable GPYRO_PROT is no configuration item")
    code, out, err = run(tmp_path, PYRO_CONFIG_FILE="nonesuch")
    assert code == 1
    assert err == [
        f"gpyro.configuration: error reading config file {tmp_path}/nonesuch: No such file or directory",
    ]
    code, out, err = run(tmp_path, PYRO_CONFIG_FILE="~/x")
    assert (code, len(err)) == (1, 1)


def test_a_storage_that_is_none_is_an_error_after_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = run(tmp_path, PYRO_STORAGE="file")
    assert code == 1
    assert err == [f"gpyro.configuration: PYRO_STORAGE is not a directory [{tmp_path}/file]"]
    assert f"PYRO_STORAGE={tmp_path}/file" in out


def test_the_storage_is_made(tmp_path: Path) -> None:
    assert run(tmp_path, PYRO_STORAGE="new")[0] == 0
    assert os.listdir(tmp_path / "new") == []


def test_arguments(tmp_path: Path) -> None:
    for argument in ("-h", "--help"):
        code, out, err = run(tmp_path, argument)
        assert (code, err) == (0, [])
        assert "Usage:" in out
    assert run(tmp_path, "--version") == (0, [f"gpyro {VERSION}"], [])
    code, out, err = run(tmp_path, "x")
    assert (code, out) == (2, [])
    assert err[0] == "gpyro.configuration: these arguments do not fit"


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gpyro.configuration"],
            cwd=tmp_path,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_names_of_pyro_3() -> None:
    assert configuration.Config is settings.Config
    assert configuration.config is settings.config
