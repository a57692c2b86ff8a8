"""What gpyro-nsc and gpyro-esc have in common: commands, what is told of errors, exit codes, Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NamedTuple

from gpyro.command_line import Options, UsageError, run_tool
from gpyro.constants import DENIED_SECURITY, deniedReasons
from gpyro.control_output import Output, printable
from gpyro.errors import ConfigurationError, ConnectionDeniedError, PyroError

NOT_ALL: Final = 1
UNUSABLE: Final = 2
NO_SERVER: Final = 3
"""Exit codes: at least one thing went wrong, the arguments cannot be used, there is nobody to ask."""


class Command(NamedTuple):
    """How many arguments a command takes, and what is said to another number of them."""

    least: int
    most: int
    complaint: str


ANY: Final = sys.maxsize


def run_control(
    name: str,
    text: str,
    argv: Sequence[str] | None,
    commands: Mapping[str, Command],
    make: Callable[[Options], Any],
) -> int:
    """Run a tool whose first argument is a command.

    Args:
        name: of the tool.
        text: its help, as of `run_tool`, with COMMAND and ARGUMENT.
        argv: the arguments; None for the process's own.
        commands: by their names.
        make: gives an object with a method for each, which takes its arguments and gives the exit code.

    Returns:
        The exit code.
    """
    if sys.stdout is None:  # a shell's >&-
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  as long as the process

    def run_command(options: Options) -> int:
        command, arguments = _words(options)
        if command == "help":
            Output(as_json=False).lines(text.strip().splitlines())
            return 0
        known = commands.get(command)
        if known is None:
            raise UsageError(f"there is no command {command!r}; {name} help tells those there are")
        if not known.least <= len(arguments) <= known.most:
            _complain(known.complaint)
            return UNUSABLE
        code: int = getattr(make(options), command)(*arguments)
        return code

    def run(options: Options) -> int:
        with _ended_by_ctrl_c():
            return _told(name, lambda: run_command(options))

    return run_tool(name, text, argv, run)


def _told(name: str, run: Callable[[], int]) -> int:
    try:
        return run()
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except ConfigurationError as error:
        _complain(f"{name}: {error}")
        return UNUSABLE
    except ConnectionDeniedError as error:
        _complain(f"Could not connect to the server: {error}")
        if str(error).startswith(deniedReasons[DENIED_SECURITY]):
            _complain("Supply correct authentication ID?")
        return NO_SERVER
    except PyroError as error:
        _complain(f"There is a problem: {error}")
        return NO_SERVER


def _words(options: Options) -> tuple[str, list[str]]:
    """The command and its arguments; docopt leaves the first -- among them."""
    words = [options["COMMAND"], *options["ARGUMENT"]]
    if "--" in words:
        words.remove("--")
    return (words[0], words[1:]) if words else ("", [])


def _complain(text: str) -> None:
    print(printable(text), file=sys.stderr)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C end the process at once, also while a full pipe holds it up: there is nothing to be cleaned up."""
    is_main = threading.current_thread() is threading.main_thread()  # which alone can answer signals
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # such as a shell's background
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
