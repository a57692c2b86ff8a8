"""Child processes of a benchmark: started, pinned to a processor, asked questions, measured and always ended.

Parent and child speak JSON, one value a line, over the child's standard input and output. A child whose input ends goes
away by itself, so nothing is left running however the parent ends.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHILDREN = Path(__file__).with_name("children.py")
STOP_SECONDS = 5.0


class BenchmarkError(Exception):
    """The benchmark could not be run; the text says what failed."""


def cores() -> tuple[int | None, int | None]:
    """The processors for servers and for clients; None, None where there are fewer than two."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


class Child:
    """A child process in one of the roles of `children.py`; a context manager that ends it."""

    def __init__(self, role: str, core: int | None) -> None:
        self.role = role
        command = [sys.executable, str(CHILDREN), role, "any" if core is None else str(core)]
        # A session of its own: Ctrl-C is the parent's, which then ends its children in order.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        self._pending = b""

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        for end in (lambda: None, self._process.terminate, self._process.kill):
            end()
            try:
                self._process.wait(STOP_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.stdout.close()

    def _tell(self, question: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
        except BrokenPipeError:
            raise BenchmarkError(f"the {self.role} process has ended") from None

    def answer(self, patience: float = 120.0) -> Any:
        """The next answer; waits at most so long."""
        assert self._process.stdout is not None
        end = time.monotonic() + patience
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BenchmarkError(f"the {self.role} process gave no answer in {patience:.0f} s")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise BenchmarkError(f"the {self.role} process has ended")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        answer = json.loads(line)
        if isinstance(answer, dict) and "failed" in answer:
            raise BenchmarkError(f"the {self.role} process: {answer['failed']}")
        return answer

    def ask(self, **question: Any) -> Any:
        """Send a question and wait for its answer."""
        self._tell(question)
        return self.answer()

    def resident_kib(self) -> int:
        """The memory that is resident (VmRSS), in KiB, once it has come to rest."""
        status = Path(f"/proc/{self._process.pid}/status")
        last = -1
        for _ in range(20):
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
            now = int(line.split()[1])
            if now == last:
                break
            last = now
            time.sleep(0.25)
        return last


PINNED = """
import os, sys, time
if sys.argv[1] != "None":
    os.sched_setaffinity(0, {int(sys.argv[1])})
"""
"""What programs begin with whose first argument is the processor that they are to run on."""


class Program:
    """A process that is asked line by line; a context manager that kills it."""

    def __init__(self, code: str, *arguments: object, **items: object) -> None:
        environment = {**os.environ, **{f"GPYRO_{name}": str(value) for name, value in items.items()}}
        command = [sys.executable, "-c", code, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchmarkError("a process has ended that was to go on")
        return line.strip()

    def ready(self) -> list[str]:
        """Wait until it is ready; gives what it tells then."""
        while not (line := self.line()).startswith("READY"):
            pass  # what a name server prints when it starts
        return line.split()[1:]

    def ask(self, question: str) -> list[float]:
        """Have it do something; gives what it measured."""
        assert self.process.stdin is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return [float(word) for word in self.line().split()]
