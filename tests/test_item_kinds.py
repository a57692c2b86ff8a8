from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro.item_kinds import FilePath, Group, Host, Seconds, Whole

DIRECTORIES = {"": "/here", "PYRO_STORAGE": "/store", "PYROSSL_CERTDIR": "/certs"}


@pytest.mark.parametrize(
    ("name", "absolute"),
    [
        ("x", "/store/x"),
        ("./x", "/store/x"),
        ("a/../x", "/store/x"),
        ("/x/y", "/x/y"),
        ("$STORAGE/x", "/store/x"),
        ("$STORAGE", "/store"),
        ("$CURDIR/x", "/here/x"),
        ("$CURDIR", "/here"),
        ("./$HOME", "/store/$HOME"),
        ("./~", "/store/~"),
        ("a b", "/store/a b"),
        ("x/$STORAGE", "/store/x/$STORAGE"),
    ],
)
def test_names_of_files(name: str, absolute: str) -> None:
    kind = FilePath()
    assert kind.check(name) == name
    assert kind.resolve(name, DIRECTORIES) == absolute
    assert kind.check(absolute) == absolute
    assert kind.resolve(absolute, DIRECTORIES) == absolute
    assert kind.check(Path("x")) == "x"


def test_files_below_other_directories() -> None:
    assert FilePath("PYROSSL_CERTDIR").resolve("x", DIRECTORIES) == "/certs/x"
    assert FilePath("PYROSSL_CERTDIR").resolve("$STORAGE/x", DIRECTORIES) == "/store/x"
    assert FilePath("").resolve("x", DIRECTORIES) == "/here/x"


def test_no_file() -> None:
    for kind, none in ((FilePath(empty=None), None), (FilePath(empty=""), "")):
        assert kind.check(None) is none
        assert kind.check("") is none
        assert kind.resolve(none, DIRECTORIES) is none
        assert kind.expected.endswith(", or nothing")
    for value in (None, ""):
        with pytest.raises(ValueError, match=r"^$"):
            FilePath().check(value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("~/x", r"~ is not replaced here; \./~/x is a file of that name"),
        ("$HOME/x", r"\$HOME is not replaced here"),
        ("$STORAGEx", r"\$STORAGEx is not replaced here"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
        (b"x", "^$"),
        (5, "^$"),
    ],
)
def test_what_is_no_name_of_a_file(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        FilePath().check(value)
    with pytest.raises(ValueError, match=r"\$STORAGE is not replaced here"):
        FilePath("").check("$STORAGE/x")
    assert "$STORAGE" in FilePath().expected
    assert "$STORAGE" not in FilePath("").expected


@given(st.text(max_size=20))
def test_any_text_is_the_name_of_a_file_that_is_absolute_or_refused(text: str) -> None:
    try:
        name = FilePath().check(text)
    except ValueError:
        return
    absolute = FilePath().resolve(name, DIRECTORIES)
    assert absolute is not None
    assert absolute.startswith("/")


@pytest.mark.parametrize("name", [":", ":Default", ":a.b/c.d-e", ":!~"])
def test_names_of_groups(name: str) -> None:
    assert Group().check(name) == name


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("Default", "^$"),
        ("", "^$"),
        (None, "^$"),
        (":a.", "part of it is empty"),
        (":.a", "part of it is empty"),
        (":a b", "' ' in a name"),
        (":a:b", "':' in a name"),
        (":a\\b", r"'\\\\' in a name"),
        (":\xe4", r"'\\xe4' in a name"),
    ],
)
def test_what_is_no_name_of_a_group(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Group().check(value)


def test_negative_numbers_without_end() -> None:
    whole, seconds = Whole(0, 10, endless=True), Seconds(0.1, 10.0, endless=True)
    assert [whole.check(value) for value in (-5, -1, 0, 10)] == [-1, -1, 0, 10]
    assert [seconds.check(value) for value in (-0.5, -math.inf, -1, 0.1, 10)] == [-1.0, -1.0, -1.0, 0.1, 10.0]
    for kind, value in ((whole, 11), (whole, True), (whole, -1.5), (seconds, 0.0), (seconds, math.nan), (seconds, 11)):
        with pytest.raises(ValueError, match=r"^$"):
            kind.check(value)
    assert whole.expected == "a whole number from 0 to 10, or a negative one for ever"
    assert seconds.expected == "a number of seconds from 0.1 to 10, or a negative one for ever"
    with pytest.raises(ValueError, match=r"^$"):
        Whole(0, 10).check(-1)


def test_hosts_with_and_without_unix_sockets() -> None:
    assert Host().check("./u:/x") == "./u:/x"
    assert Host(unix=False).check("127.0.0.1") == "127.0.0.1"
    with pytest.raises(ValueError, match=r"^$"):
        Host(unix=False).check("./u:/x")
    assert Host(optional=True, unix=False).expected == "a host name, an IP address, or None"
    assert Host().expected == "a host name, an IP address, ./u:/path, or nothing"
