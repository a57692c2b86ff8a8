from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro import names
from gpyro.errors import NamingError

PARTS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=".:\\"), min_size=1, max_size=8)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    "name", [":", ":a", "a", ":Test.simple.object1", "a/b", ":!~", "-", "x" * 255, ":" + "a." * 511]
)
def test_names(name: str) -> None:
    assert names.fault(name.removesuffix(".")) == ""


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("", "it is empty"),
        (None, "a name is a string, not NoneType"),
        (b":a", "a name is a string, not bytes"),
        ("a..b", "a part of it is empty (at character 3)"),
        (":a.", "a part of it is empty (at character 4)"),
        (":.a", "a part of it is empty (at character 2)"),
        (".", "a part of it is empty (at character 1)"),
        ("a:b", "':' in a name (at character 2)"),
        ("::a", "':' in a name (at character 2)"),
        (":a b", "' ' in a name (at character 3)"),
        ("a\\b", "'\\\\' in a name (at character 2)"),
        ("a\n", "'\\n' in a name (at character 2)"),
        ("\xe4", "'\\xe4' in a name (at character 1)"),
        ("\ud800", "'\\ud800' in a name (at character 1)"),
        (":a." + "x" * 256, "a part of it is longer than 255 characters (at character 4)"),
        ("x." * 600, "it is longer than 1024 characters"),
    ],
)
def test_what_is_wrong_with_a_name(name: Any, wrong: str) -> None:
    assert names.fault(name) == wrong
    with pytest.raises(NamingError) as caught:
        names.full_name(name, ":Default")
    assert caught.value.args == ("invalid name", names.shown(name), wrong)
    assert len(str(caught.value)) < 400
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("name", "group", "whole"),
    [
        ("a", ":Default", ":Default.a"),
        ("a.b", ":x.y", ":x.y.a.b"),
        (":a", ":Default", ":a"),
        (":", ":Default", ":"),
        ("a", ":", ":a"),
        (":a", "wrong", ":a"),
    ],
)
def test_relative_names_become_absolute(name: str, group: str, whole: str) -> None:
    assert names.full_name(name, group) == whole


@pytest.mark.parametrize(
    ("name", "group", "arguments"),
    [
        ("a", "Default", ("default group name is not absolute", "Default")),
        ("a", "", ("default group name is not absolute", "")),
        ("a", None, ("default group name is not absolute", "NoneType")),
        ("a", ":x.", ("invalid groupname", ":x.", "a part of it is empty (at character 4)")),
        ("a." * 400 + "a", ":" + "b." * 200 + "b", ("invalid name", None, "it is longer than 1024 characters")),
    ],
)
def test_what_cannot_become_absolute(name: str, group: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(NamingError) as caught:
        names.full_name(name, group)
    found = caught.value.args
    assert found == tuple(found[1] if part is None else part for part in arguments)


def test_the_text_of_an_error_can_be_chosen() -> None:
    with pytest.raises(NamingError, match=r"^invalid groupname: 'a b': ' ' in a name \(at character 2\)$"):
        names.full_name("a b", ":Default", "invalid groupname")


@given(NAMES, PARTS)
def test_what_is_split_was_joined(name: str, part: str) -> None:
    group = ":" + name
    assert names.fault(group) == ""
    assert names.split(names.join(group, part)) == (group, part)
    assert names.split(names.join(":", part)) == (":", part)
    assert names.split(":") == ("", "")


@given(st.text(max_size=30))
def test_whatever_the_text_it_is_a_name_or_not(text: str) -> None:
    wrong = names.fault(text)
    body = text.removeprefix(":")
    good = text == ":" or all(
        part and all("!" <= character <= "~" and character not in ":\\" for character in part)
        for part in body.split(".")
    )
    assert (wrong == "") is good
