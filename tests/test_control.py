from __future__ import annotations

import signal

import pytest

from gpyro.constants import DENIED_SECURITY, deniedReasons
from gpyro.control import ANY, Command, run_control
from gpyro.errors import ConfigurationError, ConnectionDeniedError, NamingError, PyroError

TEXT = """A tool.

Usage:
  tool [options] COMMAND [ARGUMENT...]

Commands:
  work [WORD...]  do it

  -v --verbose    more
"""


@pytest.fixture
def run():
    def run(work, *words):
        class Control:
            def __init__(self, options):
                self.verbose = options["--verbose"]

            def work(self, *words):
                return work(self.verbose, *words)

        return run_control("tool", TEXT, words, {"work": Command(0, 2, "Work needs at most 2 args")}, Control)

    return run


def test_a_command_gets_its_words_and_gives_the_exit_code(run):
    def work(verbose, *words):
        assert (verbose, words) == (True, ("a", "-b"))
        return 7

    assert run(work, "-v", "work", "--", "a", "-b") == 7


def test_help_and_what_is_no_command(run, capsys):
    assert run(None, "help") == 0
    assert capsys.readouterr() == (TEXT, "")
    assert run(None, "play") == 2
    assert capsys.readouterr() == ("", "tool: there is no command 'play'; tool help tells those there are\n")
    assert run(None, "work", "a", "b", "c") == 2
    assert capsys.readouterr() == ("", "Work needs at most 2 args\n")
    assert Command(0, ANY, "").most > 1_000_000


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (BrokenPipeError(), 141, ""),
        (ConfigurationError("PYRO_X is wrong"), 2, "tool: PYRO_X is wrong\n"),
        (ConnectionDeniedError("server too busy"), 3, "Could not connect to the server: server too busy\n"),
        (
            ConnectionDeniedError(deniedReasons[DENIED_SECURITY]),
            3,
            "Could not connect to the server: security reasons\nSupply correct authentication ID?\n",
        ),
        (NamingError("name not found", ":a"), 3, "There is a problem: name not found: ':a'\n"),
        (PyroError("two\nlines \x1b"), 3, "There is a problem: two\\nlines \\x1b\n"),
        (OSError("the disk is full"), 1, "tool: the disk is full\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_lines_and_exit_codes(run, capsys, error, code, told):
    def work(verbose):
        raise error

    assert run(work, "work") == code
    assert capsys.readouterr() == ("", told)


def test_ctrl_c_is_answered_as_before_when_it_is_over(run):
    before = signal.getsignal(signal.SIGINT)
    assert run(lambda verbose: 0, "work") == 0
    assert signal.getsignal(signal.SIGINT) is before
