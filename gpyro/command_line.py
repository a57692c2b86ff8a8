"""What the command line tools have in common: options, errors, exit codes, the signals that end them, running servers.

The help text of a tool is the definition of its options (docopt). An exit code of 2 is for options that cannot be
used, 1 for everything else that went wrong, and each is told in one line.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from docopt import DocoptExit, docopt
from greenlet import getcurrent

from gpyro import uri
from gpyro.auth import Identification
from gpyro.constants import VERSION
from gpyro.errors import PyroError, URIError
from gpyro.net.hub import hub_state
from gpyro.service_starter import ServiceStarter, say

Options = dict[str, Any]

MOST_OF_A_FILE: Final = 4096
"""Characters of a file with a passphrase that are read."""

# An option as help texts have it: -p PORT --port=PORT, -v --verbose, -d [DIR] --database=[DIR]
_OPTION: Final = re.compile(r"^ +-(\w)(?: (\[?)[^\s-]\S*)? --([\w-]+)", re.MULTILINE)


class UsageError(Exception):
    """An option has a value that cannot be used; the text begins with the option."""


def run_tool(name: str, text: str, argv: Sequence[str] | None, run: Callable[[Options], int]) -> int:
    """Run a tool, and tell in one line what goes wrong.

    Args:
        name: of the tool.
        text: its help text, as docopt reads it. A value in brackets (``-d [DIR] --database=[DIR]``) may be left out,
            and is '' then.
        argv: the arguments; None for the process's own.
        run: does the work with the options by their long names, and gives the exit code.

    Returns:
        The exit code.

    Raises:
        SystemExit: help or the version was asked for, and printed.
    """
    words = _with_all_values(text, sys.argv[1:] if argv is None else argv)
    try:
        return run(_options(text, words))
    except DocoptExit as error:
        told = str(error).partition("\n")[0]
        why = told if told.startswith("-") else "these arguments do not fit together"
        print(f"{name}: {why}\n{error.usage.rstrip()}\n{name} --help tells more.", file=sys.stderr)
        return 2
    except UsageError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except (PyroError, OSError) as error:
        print(f"{name}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        _let_go_of_output()


def _options(text: str, words: list[str]) -> Options:
    try:
        return docopt(text, argv=words, version=f"gpyro {VERSION}")
    except DocoptExit:
        raise
    except SystemExit:  # it printed the help, or the version
        sys.stdout.flush()  # an error of that is told, too
        raise


def _let_go_of_output() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):  # nobody reads it; the end of the interpreter would complain about that
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _with_all_values(text: str, words: Sequence[str]) -> list[str]:
    """The words, with options whose value may be left out, which docopt does not know, as --name=VALUE."""
    optional, valued, flags = _kinds(text)
    left, found = list(words), list[str]()
    while left:
        word = left.pop(0)
        if word == "--":
            return [*found, word, *left]
        before, letter, value = _last_option(word, {**optional, **valued}, flags)
        if letter in optional:
            if before:
                found.append(f"-{before}")
            if not value and left and not left[0].startswith("-"):
                value = left.pop(0)
            found.append(f"--{optional[letter]}={value}")
            continue
        found.append(word)
        if letter and not value and left:
            found.append(left.pop(0))  # its value, whatever that looks like
    return found


def _kinds(text: str) -> tuple[dict[str, str], dict[str, str], str]:
    """Options by letter: long names of those whose value may be left out, and of those with one; those without."""
    optional, valued, flags = dict[str, str](), dict[str, str](), ""
    for match in _OPTION.finditer(text):
        letter, bracket, name = match.groups()
        if bracket is None:
            flags += letter
        else:
            (optional if bracket else valued)[letter] = name
    return optional, valued, flags


def _last_option(word: str, names: dict[str, str], flags: str) -> tuple[str, str, str]:
    """The option with a value that a word ends with: the flags before it, its letter, its value; '' for each."""
    if word.startswith("--"):
        long = {f"--{name}": letter for letter, name in names.items()}
        return "", long.get(word, ""), ""
    rest = word[1:].lstrip(flags) if word.startswith("-") else ""
    if rest[:1] not in names:
        return "", "", ""
    return word[1 : len(word) - len(rest)], rest[0], rest[1:]


# ---- values of options


def whole_number(options: Options, name: str, least: int, most: int) -> int | None:
    """The value of an option that is a whole number from `least` to `most`; None if it is not there.

    Raises:
        UsageError: it is none.
    """
    text = options[name]
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return value


def host(options: Options, name: str) -> str | None:
    """The value of an option that is a host name or an address; None if it is not there.

    Raises:
        UsageError: it is none.
    """
    value: str | None = options[name]
    if value is not None:
        try:
            uri.check_address(value)
        except URIError as error:
            raise UsageError(f"{name}: {error}") from None
    return value


def identification(options: Options) -> str | tuple[str, str] | None:
    """What ``--identification`` or the file of ``--identification-file`` says; None if neither is there.

    The option is a passphrase. The file has that alone, or a user's name in a line above.

    Raises:
        UsageError: both are there, the file cannot be read or has other lines, or that is no passphrase.
    """
    name, passphrase = "--identification", options["--identification"]
    path = options["--identification-file"]
    if path is not None:
        if passphrase is not None:
            raise UsageError("--identification and --identification-file are two ways to say the same: use one")
        name = "--identification-file"
        lines = _lines(path)
        if len(lines) not in {1, 2}:
            raise UsageError(
                f"{name}: {path} has {len(lines)} lines: expected is a passphrase, or a user's name and a passphrase"
            )
        passphrase = lines[0] if len(lines) == 1 else tuple(lines)
    if passphrase is None:
        return None
    try:
        Identification.of(passphrase)
    except ValueError as error:  # which does not tell the passphrase
        raise UsageError(f"{name}: {error}") from None
    return cast("str | tuple[str, str]", passphrase)


def _lines(path: str) -> list[str]:
    try:
        if path == "-":
            return sys.stdin.read(MOST_OF_A_FILE).splitlines()
        with open(path, encoding="utf-8") as file:
            return file.read(MOST_OF_A_FILE).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UsageError(f"--identification-file: {path} cannot be read: {why}") from None


# ---- signals


@contextmanager
def ended_by_signals(stop: Callable[[int], bool]) -> Iterator[list[int]]:
    """End what runs in the block at SIGTERM and Ctrl-C, in whatever greenlet they strike. Gives those that came.

    Only the main thread can answer signals; in others nothing is done.

    Args:
        stop: asks for the end, given the first signal, and tells whether it could. In the hub. If not, and with each
            further signal, what this greenlet waits for is broken off with a KeyboardInterrupt.
    """
    here, hub = getcurrent(), hub_state().hub
    came: list[int] = []
    if not hub.main_hub:
        yield came
        return
    inside = True

    def end(number: int, first: bool) -> None:
        if inside and not (first and stop(number)):
            here.throw(KeyboardInterrupt)

    def answer(number: int, frame: object) -> None:
        came.append(number)
        first = len(came) == 1
        # A signal handler runs amid whatever greenlet is on; only this call is safe there.
        hub.loop.run_callback_threadsafe(lambda: end(number, first))

    before = {number: signal.signal(number, answer) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        inside = False
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- servers


def serve(starter: ServiceStarter, arguments: dict[str, Any]) -> int:
    """Run a server until a client, SIGTERM or Ctrl-C ends it; the exit code.

    Args:
        starter: the server's.
        arguments: of its `start`, which also tells what is raised.
    """

    def stop(number: int) -> bool:
        if number == signal.SIGINT:
            say("Shutting down on user break signal.")
        if starter.serving:
            starter.shutdown()
        return starter.serving

    with ended_by_signals(stop) as came:
        try:
            starter.start(**arguments)
        except KeyboardInterrupt:
            if not came:
                raise
    return 128 + signal.SIGINT if signal.SIGINT in came else 0
