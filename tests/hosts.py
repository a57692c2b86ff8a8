"""Two machines for tests: network namespaces with a cable between them, or else two loopback addresses.

The namespaces belong to processes that end with the tests, however these end, and take the network with them. Nothing
of it can be seen, or reached, from the machine's own network.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.naming import BROADCAST, environment
from tests.programs import Program, running
from tests.support import eventually


@dataclass
class Host:
    """A machine.

    Attributes:
        address: its own.
        items: the configuration of what runs on it.
    """

    address: str
    items: dict[str, str]
    prefix: tuple[str, ...] = ()

    def run(self, command: Sequence[str], **items: str) -> contextlib.AbstractContextManager[Program]:
        """Run a command on it, and end it with the block."""
        return running([*self.prefix, *command], {**self.items, **items})


@contextlib.contextmanager
def two_namespaces(directory: Path) -> Iterator[list[Host]]:
    """Two machines on a network of their own, each with a directory of its own."""
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(_namespace()) for _ in range(2))
        _ip(first, "link add cable type veth peer name cable netns", str(second))
        hosts = []
        for number, namespace in enumerate((first, second), 1):
            _ip(namespace, f"address add 192.0.2.{number}/24 broadcast + dev cable")
            for device in ("lo", "cable"):
                _ip(namespace, f"link set {device} up")
            _ip(namespace, "route add default dev cable")
            hosts.append(_host(f"192.0.2.{number}", directory, tuple(_inside(namespace)), ""))
        yield hosts


@contextlib.contextmanager
def two_addresses(directory: Path) -> Iterator[list[Host]]:
    """Two addresses of this machine, as much like machines as can be without rights."""
    yield [_host(f"127.0.0.{number}", directory, (), BROADCAST) for number in (2, 3)]


def _host(address: str, directory: Path, prefix: tuple[str, ...], broadcast: str) -> Host:
    storage = directory / address
    storage.mkdir()
    # Whoever looks for a name server asks anew every second, so that he finds one that starts within his lease.
    search = {"PYRO_NS_BC_ADDR": broadcast, "PYRO_BC_TIMEOUT": 1.0, "PYRO_BC_RETRIES": 29}
    return Host(address, environment(storage, PYRO_HOST=address, PYRO_NS_LEASE=4.0, **search), prefix)


@functools.cache
def why_no_namespaces() -> str:
    """Why `two_namespaces` cannot be; '' if it can."""
    if os.getuid() != 0:
        return "only the superuser makes network namespaces"
    missing = [tool for tool in ("unshare", "nsenter", "ip") if not shutil.which(tool)]
    if missing:
        return f"there is no {' and no '.join(missing)}"
    try:
        with _namespace() as namespace:
            _ip(namespace, "link add cable type veth peer name other")
    except (OSError, AssertionError, subprocess.CalledProcessError) as error:
        return f"network namespaces cannot be made: {error}"
    return ""


@contextlib.contextmanager
def _namespace() -> Iterator[int]:
    """A network namespace: the process that has it, which ends when its input does."""
    with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as process:
        own = os.readlink("/proc/self/ns/net")
        eventually(lambda: process.poll() is not None or os.readlink(f"/proc/{process.pid}/ns/net") != own, 30)
        assert process.poll() is None, "unshare refuses"
        yield process.pid


def _inside(namespace: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{namespace}/ns/net"]


def _ip(namespace: int, words: str, *more: str) -> None:
    command = [*_inside(namespace), "ip", *words.split(), *more]
    subprocess.run(command, check=True, capture_output=True)
