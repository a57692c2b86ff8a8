from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpyro.errors import ConfigurationError
from gpyro.item_sources import file_to_read, from_code, look, shown


def in_file(directory: Path, text: str, **environ: str) -> str:
    """What is said of a file with this text."""
    path = directory / "a.conf"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        look({"PYRO_CONFIG_FILE": str(path), **environ})
    assert str(caught.value).startswith(f"{path}, line ")
    return str(caught.value).removeprefix(f"{path}, ")


def test_what_may_be_wrong_in_a_file(tmp_path: Path) -> None:
    assert in_file(tmp_path, "\nPYRO_PORT=x") == "line 2: PYRO_PORT='x': expected a whole number from 0 to 65535"
    assert "line 1: unknown config item PYRO_PROT; near to it are PYRO_PORT, " in in_file(tmp_path, "PYRO_PROT=1")
    assert in_file(tmp_path, "PYRO_PROT=").startswith("line 1: unknown config item PYRO_PROT")
    assert in_file(tmp_path, "zzz=1") == "line 1: unknown config item zzz"
    assert in_file(tmp_path, "PYRO_CONFIG_FILE=x") == "line 1: PYRO_CONFIG_FILE can be set by the environment only"
    said = in_file(tmp_path, "GPYRO_PORT=1")
    assert said == "line 1: GPYRO_PORT: only environment variables begin with a G; write PYRO_PORT"
    assert "write PYRO_CHECKSUM" in in_file(tmp_path, "GPYRO_CHECKSUM=1")
    assert "write PYROSSL_CERT" in in_file(tmp_path, "GPYROSSL_CERT=x")
    assert "expected the name of a file" in in_file(tmp_path, "PYRO_LOGFILE=$HOME/x")
    # Although another source goes before the file.
    assert "line 1: PYRO_PORT='x'" in in_file(tmp_path, "PYRO_PORT=x", PYRO_PORT="1")


def test_an_empty_value_leaves_the_default(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("PYRO_PORT=\nPYRO_CHECKSUM=\nPYRO_HOST= # none\n")
    found = look({"PYRO_CONFIG_FILE": str(path)})
    assert found.values == {"PYRO_CONFIG_FILE": str(path)}
    assert found.dropped == {}


def test_which_file_is_read(tmp_path: Path) -> None:
    here = str(tmp_path)
    assert file_to_read({}, here) == ""
    (tmp_path / "Pyro.conf").mkdir()
    assert file_to_read({}, here) == f"{here}/Pyro.conf"
    (tmp_path / "Pyro.conf").rmdir()
    (tmp_path / "Pyro.conf").symlink_to("nowhere")
    assert file_to_read({}, here) == f"{here}/Pyro.conf"
    assert file_to_read({"PYRO_CONFIG_FILE": " "}, here) == f"{here}/Pyro.conf"
    assert file_to_read({"PYRO_CONFIG_FILE": "sub/x"}, here) == f"{here}/sub/x"
    assert file_to_read({"PYRO_CONFIG_FILE": "$CURDIR/x"}, here) == f"{here}/x"
    assert file_to_read({"PYRO_CONFIG_FILE": "/x", "GPYRO_CONFIG_FILE": "/y"}, here) == "/y"
    for odd in ("$STORAGE/x", "~/x"):
        with pytest.raises(ConfigurationError, match=r"environment variable PYRO_CONFIG_FILE=.* is not replaced here"):
            file_to_read({"PYRO_CONFIG_FILE": odd}, here)


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^error reading config file /nonesuch: No such file or directory$"):
        look({"PYRO_CONFIG_FILE": "/nonesuch"})
    with pytest.raises(ConfigurationError, match=r"^error reading config file .*: it is a directory$"):
        look({"GPYRO_CONFIG_FILE": str(tmp_path)})


def test_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Pyro.conf").write_text("PYRO_PORT=5\nPYRO_DNS_URI=1\nPYRO_BC_RETRIES=-7\n")
    found = look({"PYRO_CHECKSUM": "1", "GPYRO_CHECKSUM": "2", "PYRO_NONESUCH": "x", "PYRO_HOST": "::1"})
    assert found.directory == os.getcwd()
    assert found.values == {
        "PYRO_CONFIG_FILE": f"{tmp_path}/Pyro.conf",
        "PYRO_PORT": 5,
        "PYRO_BC_RETRIES": -1,
        "PYRO_HOST": "::1",
    }
    assert found.origins["PYRO_CONFIG_FILE"] == "found in the current directory"
    assert found.dropped == {
        "PYRO_DNS_URI": f"{tmp_path}/Pyro.conf, line 2",
        "PYRO_CHECKSUM": "environment variable GPYRO_CHECKSUM",
    }


def test_from_code() -> None:
    assert from_code("PYRO_PORT", 5) == 5
    with pytest.raises(ConfigurationError, match=r"^PYRO_PORT = 'x': expected a whole number"):
        from_code("PYRO_PORT", "x")


def test_values_are_shown_shortened() -> None:
    assert shown("\xe4") == r"'\xe4'"
    assert len(shown("x" * 1000)) == 83
