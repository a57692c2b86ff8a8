"""Python programs as processes of their own: their lines as they come, their signals, their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import gevent
from gevent.socket import wait_read

from tests.support import ROOT, eventually, start_process

PATIENCE = 60.0

# A shell that runs the tests in the background has made all its children ignore Ctrl-C.
_CTRL_C = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
AS_COMMAND = """import os, sys
os.environ.pop("PYTHONUNBUFFERED", None)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"""
"""A program that becomes a command, which therefore has the signals of a command in a terminal."""

_PATCH = "from gevent import monkey\nmonkey.patch_all()\n"


class Program:
    """A running program. The loop of this process goes on while it is waited for."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None, directory: Path) -> None:
        environment = {"GPYRO_PORT": "0", **(environment or {})}  # ports that the system chooses
        self.process = start_process(command, environment, directory)
        self._read = b""

    def line(self) -> str:
        """The next line it prints, without its end."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self._read:
            with gevent.Timeout(PATIENCE, AssertionError(f"the program printed no line: {self._read!r}")):
                wait_read(descriptor)
            data = os.read(descriptor, 65536)
            if not data:
                self._wait()
                raise AssertionError(f"the program ended: {self._read!r}\n{self.process.stderr.read()}")  # type: ignore[union-attr]
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def say(self, text: str) -> None:
        """Write a line to its input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end_input(self) -> None:
        """Write nothing more to it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None  # as `communicate` wants it

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._wait()

    def end(self) -> tuple[int, str, str]:
        """Wait for its own end: its code, and the rest of its output and errors."""
        self._wait()
        out, err = self.process.communicate()
        rest, self._read = self._read, b""
        return self.process.returncode, rest.decode() + out, err

    def ended_well(self) -> str:
        """Wait for its end, which is to be a success; gives the rest of its output."""
        code, out, err = self.end()
        assert code == 0, f"exit code {code}\n{out}\n{err}"
        return out

    def _wait(self) -> None:
        eventually(lambda: self.process.poll() is not None, PATIENCE)


@contextlib.contextmanager
def program(
    code: str, *arguments: str, patched: bool = False, environment: dict[str, str] | None = None
) -> Iterator[Program]:
    """Run `code` in a Python of its own, and end it with the block."""
    with running(python(code, *arguments, patched=patched), environment) as started:
        yield started


def python(code: str, *arguments: str, patched: bool = False) -> list[str]:
    """The command that runs `code`."""
    prelude = (_PATCH if patched else "") + _CTRL_C
    return [sys.executable, "-c", prelude + textwrap.dedent(code), *arguments]


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: dict[str, str] | None = None, directory: Path = ROOT
) -> Iterator[Program]:
    """Run a command, and end it with the block."""
    started = Program(command, environment, directory)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.process.communicate(timeout=PATIENCE)
