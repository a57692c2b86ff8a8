from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro import config_file
from gpyro.config_file import Line, read
from gpyro.errors import ConfigurationError, PyroError


def written(directory: Path, text: str | bytes) -> str:
    path = directory / "a.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_lines(tmp_path: Path) -> None:
    text = (
        "# a comment\n"
        "\n"
        "PYRO_PORT=8000\n"
        "  PYRO_HOST = localhost   # another\n"
        "\t# and another\r\n"
        "PYRO_LOGFILE=a#b=c\r\n"
        "PYRO_PUBLISHHOST=\n"
        "PYRO_STORAGE= # nothing\n"
        "PYRO_PUBLISHHOST=there"
    )
    assert read(written(tmp_path, text)) == [
        Line(3, "PYRO_PORT", "8000"),
        Line(4, "PYRO_HOST", "localhost"),
        Line(6, "PYRO_LOGFILE", "a#b=c"),
        Line(7, "PYRO_PUBLISHHOST", ""),
        Line(8, "PYRO_STORAGE", ""),
        Line(9, "PYRO_PUBLISHHOST", "there"),
    ]


def test_empty_files_and_those_of_other_systems(tmp_path: Path) -> None:
    assert read(written(tmp_path, "")) == []
    assert read(os.devnull) == []
    assert read(written(tmp_path, b"\xef\xbb\xbfPYRO_PORT=1\n")) == [Line(1, "PYRO_PORT", "1")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PYRO_PORT 8000", "syntax error: 'PYRO_PORT 8000' is not of the form ITEM=VALUE"),
        ("PYRO_PORT: 8000", "is not of the form ITEM=VALUE"),
        ("[section]", "is not of the form ITEM=VALUE"),
        ("=8000", "is not of the form ITEM=VALUE"),
        ("PYRO-PORT=1", "is not of the form ITEM=VALUE"),
        ("export PYRO_PORT=1", "is not of the form ITEM=VALUE"),
        ("x" * 100, "'" + "x" * 60 + "...' is not of the form"),
        ("PYRO_LOGFILE=my log", "syntax error: 'log' after the value, which ends at white space"),
        ("PYRO_LOGFILE=my ; log", "'; log' after the value"),
        ('PYRO_HOST="localhost"', "a value is written without quotes"),
        ("PYRO_HOST='localhost'", "a value is written without quotes"),
        ("PYRO_HOST=x", "PYRO_HOST is set twice, the first time in line 1"),
    ],
)
def test_lines_that_cannot_be_understood(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, f"PYRO_HOST=x\n\n{line}\nPYRO_PORT=1\n")
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert said in str(caught.value)
    assert isinstance(caught.value, PyroError)


def unreadable(path: str | Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(str(path))
    text = str(caught.value)
    assert text.startswith(f"error reading config file {path}: ")
    return text.partition(f"{path}: ")[2]


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unreadable(tmp_path / "nonesuch") == "No such file or directory"
    assert unreadable(tmp_path) == "it is a directory"
    os.mkfifo(tmp_path / "pipe")
    assert unreadable(tmp_path / "pipe") == "it is no ordinary file"
    assert unreadable("/dev/zero") == "it is no ordinary file"
    assert unreadable(written(tmp_path, b"PYRO_PORT=1\n\xff\xfe")) == "it is no text in UTF-8: byte 12 is 0xff"
    assert unreadable(written(tmp_path, b"PYRO_PORT=1\n\0")).startswith("it is no text: ")
    assert unreadable(written(tmp_path, "PYRO_PORT=1\n".encode("utf-16")))
    assert unreadable(written(tmp_path, "#" * (config_file.MAX_SIZE + 1))) == "it has more than 1048576 bytes"
    assert read(written(tmp_path, "#" * config_file.MAX_SIZE)) == []
    (tmp_path / "link").symlink_to(tmp_path / "link")
    assert unreadable(tmp_path / "link") == "Too many levels of symbolic links"

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(config_file, "open", refuse, raising=False)
    assert unreadable(written(tmp_path, "")) == "Permission denied"


@given(st.binary(max_size=200) | st.text(st.characters(exclude_categories=["Cs"]), max_size=200).map(str.encode))
def test_any_bytes_are_lines_or_one_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = written(tmp_path_factory.getbasetemp(), data)
    said = ""
    try:
        assert all(line.name for line in read(path))
    except ConfigurationError as error:
        said = str(error)
    assert "\n" not in said
