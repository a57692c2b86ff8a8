from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro.argparser import ArgParser


def parsed(args: str | list[str], optionlist: str) -> ArgParser:
    parser = ArgParser()
    parser.parse(args, optionlist)
    return parser


def test_options_values_and_arguments() -> None:
    parser = parsed("-k -n host -p8000 list :Default", "kn:p:")
    assert parser.options == {"k": True, "n": "host", "p": "8000"}
    assert parser.args == ["list", ":Default"]
    assert parser.ignored == []
    assert parser.hasOpt("k")
    assert not parser.hasOpt("x")
    assert parser.getOpt("n") == "host"
    assert parser.getOpt("x", 5) == 5
    assert parser.getOpt("x", None) is None
    with pytest.raises(KeyError, match="no such option"):
        parser.getOpt("x")


def test_a_list_is_left_as_it_is() -> None:
    words = ["-i", "two words", "x"]
    assert parsed(words, "i:").options == {"i": "two words"}
    assert words == ["-i", "two words", "x"]


def test_missing_values() -> None:
    assert parsed("-d -k", "d:k").options == {"d": None, "k": True}
    assert parsed("-d", "d:").options == {"d": None}
    assert parsed("-d -", "d:").options == {"d": None}


def test_options_together() -> None:
    assert parsed("-kvnhost", "kvn:").options == {"k": True, "v": True, "n": "host"}


def test_a_lone_dash_ends_the_options() -> None:
    parser = parsed("-k - -v x", "kv")
    assert (parser.options, parser.args) == ({"k": True}, ["-v", "x"])


def test_what_is_no_option_is_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    parser = parsed("-x -ky a -: --long", "k:")
    assert parser.options == {"k": "y"}
    assert parser.args == ["a"]
    assert parser.ignored == ["-x", "-:", "--", "-l", "-o", "-n", "-g"]
    parser.printIgnored()
    assert capsys.readouterr().out == "Ignored options: -x -: -- -l -o -n -g\n"
    parser.parse("", "k")
    parser.printIgnored()
    assert capsys.readouterr().out == ""
    assert (parser.options, parser.args, parser.ignored) == ({}, [], [])


@given(st.lists(st.text(max_size=5), max_size=6), st.text("ab:-", max_size=5))
def test_any_words_are_taken(words: list[str], optionlist: str) -> None:
    parser = parsed(words, optionlist)
    assert all(len(letter) == 1 for letter in parser.options)
