"""What several tests need: servers in this process and in others, and waiting without sleeping."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gevent
import pytest

from gpyro import core
from gpyro.protocol import DefaultConnValidator

ROOT = Path(__file__).parent.parent


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Let the loop run until `condition()` is true, and give what it gave; fail after `seconds`."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {seconds} s: {condition}"
        gevent.sleep(0.001)
    return value


def turns(count: int = 3) -> None:
    """Let the loop run, and poll, `count` times."""
    for _ in range(count):
        gevent.sleep(0.001)


@contextlib.contextmanager
def serving(obj: Any, name: str | None = None, *, grace: float = 2.0, **arguments: Any) -> Iterator[core.Daemon]:
    """A daemon in this process and hub that serves `obj`; its URI is ``daemon.uri_of(obj)``-less: see `uri_of`."""
    arguments = {"host": "127.0.0.1", "port": 0, "norange": 1, **arguments}
    daemon = core.Daemon(**arguments)
    daemon.connect(obj, name)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop(grace)


class AnyServer(DefaultConnValidator):
    """Lets a proxy with an identification go to servers that do not ask for one."""

    def acceptIdentification(self, daemon: Any, connection: Any, token: Any, challenge: Any) -> tuple[int, int]:
        return 1, 0


def uri_of(daemon: core.Daemon, obj: Any) -> core.PyroURI:
    """The URI of a connected object."""
    return daemon.getProxyForObj(obj).URI


def start_python(code: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Run `code` in a Python of its own, with pipes."""
    return start_process([sys.executable, "-c", textwrap.dedent(code), *arguments], environment)


def start_process(
    command: Sequence[str], environment: dict[str, str] | None = None, directory: Path = ROOT
) -> subprocess.Popen[str]:
    """Run a command, with pipes."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )


@contextlib.contextmanager
def python_process(
    code: str, *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in a Python of its own, and end it with the block."""
    process = start_python(code, *arguments, environment=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def finish(process: subprocess.Popen[str], seconds: float = 60.0) -> tuple[int, str, str]:
    """Wait for a process's own end: its code, output and errors."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def run_python(
    code: str, *arguments: str, seconds: float = 60.0, environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run `code` in a Python of its own to its end: its code, output and errors."""
    with python_process(code, *arguments, environment=environment) as process:
        return finish(process, seconds)


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


IPV6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")

_LOWEST = 10_000
_SHARES = 16
_LEAST = 100


@functools.cache
def _share() -> Iterator[int]:
    """This process's share of the ports that the system gives to nobody by itself: other tests run beside these."""
    first_of_the_system = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    size = (first_of_the_system - _LOWEST) // _SHARES
    if size < _LEAST:  # the system gives away nearly all there are, so there are none apart
        return itertools.repeat(0)
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
    ports = range(_LOWEST + number * size, _LOWEST + (number + 1) * size)
    begin = random.randrange(size)
    return itertools.cycle([*ports[begin:], *ports[:begin]])


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port that nobody has, and that nobody is given who asks the system for any."""
    while True:
        port = next(_share())
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind) as sock:
            sock.bind(("127.0.0.1", port))
            return int(sock.getsockname()[1])


def descriptors() -> dict[str, str]:
    """The open file descriptors of this process and what they are."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found
