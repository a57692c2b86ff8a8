from __future__ import annotations

import io
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro import tracebacks
from gpyro.constants import TRACEBACK_ATTRIBUTE
from gpyro.proxy import getProxyForURI
from gpyro.remote_traceback import REMOTE_FOOTER, REMOTE_HEADER, attach_remote_traceback, remote_note
from gpyro.settings import Config
from gpyro.tracebacks import excepthook, formatTraceback, getPyroTraceback, safe_repr

REMOTE = ["Traceback (most recent call last):\n", '  File "far.py", line 1, in work\n', "ZeroDivisionError: far\n"]
FRAMED = (
    f"{REMOTE_HEADER}\n"
    " | Traceback (most recent call last):\n"
    ' |   File "far.py", line 1, in work\n'
    " | ZeroDivisionError: far\n"
    f"{REMOTE_FOOTER}\n"
)


def caught(work: Callable[[], object]) -> BaseException:
    try:
        work()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def divide() -> float:
    numerator, password = 1, "geheim"
    return numerator / (len(password) - 6)


def outer() -> float:
    level = "outer"
    return divide() + len(level)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    fresh = Config({})
    monkeypatch.setattr(tracebacks, "config", fresh)
    return fresh


@pytest.fixture(autouse=True)
def _plain(config: Config) -> None:
    """Let no environment variable decide what these tests see."""


# ---- remote tracebacks


def test_a_local_traceback_alone() -> None:
    exc = caught(outer)
    lines = getPyroTraceback(exc)
    text = "".join(lines)
    assert lines[0] == "Traceback (most recent call last):\n"
    assert "in divide\n" in text
    assert lines[-1] == "ZeroDivisionError: division by zero\n"
    assert "Remote traceback" not in text


def test_the_remote_traceback_follows_the_local_one() -> None:
    exc = caught(outer)
    attach_remote_traceback(exc, REMOTE)
    text = "".join(getPyroTraceback(exc))
    assert text.endswith("ZeroDivisionError: division by zero\n" + FRAMED)
    assert text.count(REMOTE_HEADER) == 1
    assert getattr(exc, TRACEBACK_ATTRIBUTE) == REMOTE


def test_the_attribute_alone_is_enough() -> None:
    exc = caught(outer)
    setattr(exc, TRACEBACK_ATTRIBUTE, REMOTE)
    assert "".join(getPyroTraceback(exc)).endswith(FRAMED)
    assert "".join(formatTraceback(None, exc)).endswith(FRAMED)


def test_the_note_alone_is_enough() -> None:
    exc = caught(outer)
    exc.add_note(remote_note(REMOTE))
    text = "".join(getPyroTraceback(exc))
    assert text.endswith(FRAMED)
    assert text.count(REMOTE_HEADER) == 1


def test_pythons_own_traceback_shows_the_note() -> None:
    exc = caught(outer)
    attach_remote_traceback(exc, REMOTE)
    assert "".join(traceback.format_exception(exc)).endswith(FRAMED)


def test_other_notes_stay_and_the_remote_traceback_comes_last() -> None:
    exc = caught(outer)
    attach_remote_traceback(exc, REMOTE)
    exc.add_note("by the way")
    for text in ("".join(getPyroTraceback(exc)), "".join(formatTraceback(None, exc))):
        assert text.endswith("ZeroDivisionError: division by zero\nby the way\n" + FRAMED)


def test_attaching_again_replaces() -> None:
    exc = caught(outer)
    exc.add_note("mine")
    attach_remote_traceback(exc, ["first\n"])
    attach_remote_traceback(exc, ["second\n"])
    text = "".join(getPyroTraceback(exc))
    assert "first" not in text
    assert text.endswith(f"mine\n{REMOTE_HEADER}\n | second\n{REMOTE_FOOTER}\n")
    assert len(exc.__notes__) == 2


def test_of_two_remote_notes_the_later_is_shown() -> None:
    exc = caught(outer)
    exc.add_note(remote_note(["first"]))
    exc.add_note(remote_note(["second"]))
    for text in ("".join(getPyroTraceback(exc)), "".join(formatTraceback(None, exc))):
        assert text.count(REMOTE_HEADER) == 1
        assert " | second\n" in text


def test_attaching_to_a_frozen_exception() -> None:
    @dataclass(frozen=True)
    class Frozen(Exception):
        number: int

    exc = Frozen(1)
    attach_remote_traceback(exc, REMOTE)
    assert "".join(getPyroTraceback(exc)).endswith(FRAMED)


def test_a_traceback_that_passed_two_servers_is_framed_twice() -> None:
    exc = caught(outer)
    attach_remote_traceback(exc, REMOTE)
    sent_on = formatTraceback(None, exc)
    again = caught(outer)
    attach_remote_traceback(again, sent_on)
    text = "".join(getPyroTraceback(again))
    assert f"\n | {REMOTE_HEADER}\n" in text
    assert "\n |  | ZeroDivisionError: far\n" in text
    assert text.endswith(f"\n | {REMOTE_FOOTER}\n{REMOTE_FOOTER}\n")


def test_causes_keep_their_own_remote_traceback() -> None:
    cause = caught(outer)
    setattr(cause, TRACEBACK_ATTRIBUTE, REMOTE)

    def work() -> None:
        raise KeyError("near") from cause

    exc = caught(work)
    attach_remote_traceback(exc, ["the other\n"])
    text = "".join(getPyroTraceback(exc))
    assert text.count(REMOTE_HEADER) == 2
    assert text.index("ZeroDivisionError: far") < text.index("direct cause") < text.index("KeyError: 'near'")
    assert text.endswith(f"KeyError: 'near'\n{REMOTE_HEADER}\n | the other\n{REMOTE_FOOTER}\n")


def test_contexts_are_shown_unless_suppressed() -> None:
    def work(cause: bool) -> None:
        try:
            divide()
        except ZeroDivisionError:
            if cause:
                raise KeyError("near") from None
            raise KeyError("near")  # noqa: B904

    text = "".join(getPyroTraceback(caught(lambda: work(False))))
    assert text.index("division by zero") < text.index("During handling of the above") < text.index("KeyError: 'near'")
    alone = getPyroTraceback(caught(lambda: work(True)))
    assert not [line for line in alone if line.startswith("ZeroDivisionError")]


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = KeyError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert "".join(getPyroTraceback(first)).count("direct cause") == 1


def test_members_of_a_group_show_their_remote_traceback() -> None:
    member = ValueError("in the group")
    setattr(member, TRACEBACK_ATTRIBUTE, REMOTE)
    group = ExceptionGroup("several", [member, KeyError("x")])
    for detailed in (False, True):
        text = "".join(formatTraceback(None, caught(lambda: _throw(group)), detailed=detailed))
        assert text.count(REMOTE_HEADER) == 1
        assert "ValueError: in the group" in text
        assert "KeyError: 'x'" in text


def _throw(exc: BaseException) -> None:
    raise exc


def test_without_arguments_the_exception_being_handled_is_taken() -> None:
    try:
        divide()
    except ZeroDivisionError:
        assert getPyroTraceback(None)[-1] == "ZeroDivisionError: division by zero\n"
        assert formatTraceback()[-1] == "ZeroDivisionError: division by zero\n"
    assert getPyroTraceback(None) == ["NoneType: None\n"]
    assert formatTraceback() == ["NoneType: None\n"]


def test_a_given_traceback_takes_precedence() -> None:
    exc, other = caught(outer), caught(divide)
    assert other.__traceback__ is not None
    text = "".join(getPyroTraceback(exc, type(exc), other.__traceback__.tb_next))
    assert "in divide" in text
    assert "in outer" not in text


def test_control_characters_of_the_peer_are_written_out() -> None:
    note = remote_note(["a\x1b[31mred\r\x07\x9b2J\tb\n", "c"])
    assert note.split("\n")[1:-1] == [r" | a\x1b[31mred\r\x07\x9b2J" + "\tb", " | c"]


class Hostile(Exception):
    """Its notes and traceback are not what they should be."""

    def __init__(self, notes: Any, lines: Any) -> None:
        super().__init__("hostile")
        if notes is not None:
            self.__notes__ = notes
        setattr(self, TRACEBACK_ATTRIBUTE, lines)


junk = st.none() | st.integers() | st.text() | st.lists(st.text() | st.integers() | st.none() | st.just(REMOTE_HEADER))


@given(junk, junk, st.booleans())
def test_nothing_an_exception_carries_breaks_the_formatting(notes: Any, lines: Any, detailed: bool) -> None:
    exc = caught(lambda: _throw(Hostile(notes, lines)))
    text = "".join(getPyroTraceback(exc))
    assert text.count("Hostile: hostile") == 1
    assert all(isinstance(line, str) for line in formatTraceback(None, exc, detailed=detailed))


def test_attributes_that_raise() -> None:
    class Raises(Exception):
        @property
        def remote_stacktrace(self) -> list[str]:
            raise RuntimeError

        def __str__(self) -> str:
            raise RuntimeError

    assert TRACEBACK_ATTRIBUTE == "remote_stacktrace"
    text = "".join(getPyroTraceback(caught(lambda: _throw(Raises()))))
    assert "Raises: <exception str() failed>" in text


# ---- detailed tracebacks


class Account:
    def withdraw(self, amount: int) -> float:
        balance = 100
        return balance / amount


def test_detailed_by_configuration(config: Config) -> None:
    exc = caught(outer)
    assert "geheim" not in "".join(getPyroTraceback(exc))
    config.PYRO_DETAILED_TRACEBACK = True
    assert "password = 'geheim'" in "".join(getPyroTraceback(exc))
    assert "password = 'geheim'" in "".join(formatTraceback(None, exc))
    assert "geheim" not in "".join(formatTraceback(None, exc, detailed=False))


def test_a_configuration_that_cannot_be_read_does_not_hide_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracebacks, "config", Config({"GPYRO_NONESUCH": "1"}))
    assert getPyroTraceback(caught(divide))[-1] == "ZeroDivisionError: division by zero\n"


def test_the_detailed_form() -> None:
    exc = caught(lambda: Account().withdraw(0))
    lines = formatTraceback(None, exc, detailed=True)
    text = "".join(lines)
    assert lines[0] == "Traceback (most recent call last), with local values:\n"
    first = Account.withdraw.__code__.co_firstlineno
    assert f'  File "{__file__}", line {first + 2}, in Account::withdraw\n    return balance / amount\n' in text
    assert "    Local values:\n      self = <" in text
    assert "      amount = 0\n      balance = 100\n" in text
    assert lines[-1] == "ZeroDivisionError: division by zero\n"


def test_a_function_inside_another_is_no_method() -> None:
    def inner() -> None:
        raise ValueError

    text = "".join(formatTraceback(None, caught(lambda: inner()), detailed=True))
    assert "in test_a_function_inside_another_is_no_method.<locals>.inner\n" in text


def test_the_first_frame_shows_no_values_unless_it_is_the_only_one() -> None:
    text = "".join(formatTraceback(None, caught(outer), detailed=True))
    assert "level = 'outer'" in text
    assert "work = <function" not in text
    exc = caught(divide)
    assert exc.__traceback__ is not None
    alone = "".join(formatTraceback(None, exc, exc.__traceback__.tb_next, detailed=True))
    assert "password = 'geheim'" in alone


def test_detailed_causes_notes_and_remote_traceback() -> None:
    cause = caught(outer)

    def work() -> None:
        where = "work"
        raise KeyError(where) from cause

    exc = caught(work)
    exc.add_note("by the way")
    attach_remote_traceback(exc, REMOTE)
    text = "".join(formatTraceback(None, exc, detailed=True))
    assert text.index("password = 'geheim'") < text.index("direct cause") < text.index("where = 'work'")
    assert text.endswith("KeyError: 'work'\nby the way\n" + FRAMED)


def test_deep_recursion_is_cut_in_the_middle() -> None:
    def down(depth: int) -> None:
        if depth == 0:
            raise ValueError("bottom")
        down(depth - 1)

    text = "".join(formatTraceback(None, caught(lambda: down(200)), detailed=True))
    assert text.count("  ... 153 frames left out ...\n") == 1
    assert text.count("frames left out") == 1
    assert text.count("  File ") == 50
    assert "depth = 0\n" in text


def test_many_and_dangerous_local_values() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    def work() -> None:
        bad, long, many = Bad(), "x" * 10_000, list(range(100_000))
        a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = a9 = bad  # noqa: F841
        raise ValueError(len(long) + len(many))

    text = "".join(formatTraceback(None, caught(work), detailed=True))
    assert "bad = <Bad instance at 0x" in text
    assert max(map(len, text.split("\n"))) < 600


@pytest.mark.parametrize(("count", "end"), [(50, "ValueError\n"), (51, "      ... and 1 more\nValueError\n")])
def test_more_local_values_than_are_shown(count: int, end: str) -> None:
    names = [f"value{number}" for number in range(count)]
    namespace: dict[str, Any] = {}
    body = "".join(f"    {name} = {number}\n" for number, name in enumerate(names))
    exec(f"def work():\n{body}    raise ValueError\n", namespace)
    text = "".join(formatTraceback(None, caught(namespace["work"]), detailed=True))
    assert text.endswith("      value49 = 49\n" + end)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        ("a\nb", r"'a\nb'"),
        (b"x" * 1001, "<bytes of length 1001>"),
        ([1, [2]], "[1, [2]]"),
    ],
)
def test_safe_repr(value: object, shown: str) -> None:
    assert safe_repr(value) == shown


def test_safe_repr_of_a_number_too_long_for_repr() -> None:
    text = safe_repr(10**5000)
    assert text.startswith("<int")
    assert len(text) < 100


def test_safe_repr_is_one_short_line() -> None:
    class Long:
        def __repr__(self) -> str:
            return "a\nb\x1b" * 100

    nested: list[Any] = [["x" * 300] * 50] * 50
    for value in (Long(), nested, dict.fromkeys(range(100), nested)):
        text = safe_repr(value)
        assert len(text) <= tracebacks.MAX_REPR
        assert text.isprintable()


def test_long_containers_of_own_classes_are_not_represented_whole() -> None:
    class Mine(dict[int, int]):
        def __repr__(self) -> str:
            raise AssertionError("asked for the whole")

    assert safe_repr(Mine.fromkeys(range(1001), 0)) == "<Mine of length 1001>"


# ---- excepthook


def test_excepthook_writes_to_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    exc = caught(outer)
    attach_remote_traceback(exc, REMOTE)
    excepthook(type(exc), exc, exc.__traceback__)
    assert stderr.getvalue() == "".join(getPyroTraceback(exc))
    assert stderr.getvalue().endswith(FRAMED)


def test_excepthook_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    exc = caught(divide)
    excepthook(type(exc), exc, exc.__traceback__)


def test_excepthook_in_a_program() -> None:
    program = (
        "import sys, gpyro.remote_traceback as r, gpyro.util as u\nsys.excepthook = u.excepthook\n"
        "e = KeyError('x')\nr.attach_remote_traceback(e, ['far\\n'])\nraise e\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith(f"KeyError: 'x'\n{REMOTE_HEADER}\n | far\n{REMOTE_FOOTER}\n")


def test_a_long_chain_of_contexts_takes_no_time() -> None:
    error: BaseException = ValueError("first")
    for number in range(20_000):
        following = KeyError(number)
        following.__context__ = error
        error = following
    lines = formatTraceback(type(error), error)
    assert lines[-1] == "KeyError: 19999\n"
    assert sum(line.startswith("KeyError") for line in lines) == 20


def test_detailed_tracebacks_do_not_show_what_the_library_was_told_of_who_somebody_is() -> None:
    proxy = getProxyForURI("PYRO://localhost/x")
    # Without a name of its own in this frame, for what the program has in its frames is shown.
    text = "".join(
        formatTraceback(None, caught(lambda: proxy._setIdentification(("ann", "very" + "hidden\x00"))), detailed=True)
    )
    assert "passphrase = <hidden>" in text
    assert "ident = <hidden>" in text
    assert "veryhidden" not in text
