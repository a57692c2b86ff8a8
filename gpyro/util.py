"""The names of Pyro 3's ``Pyro.util`` in one place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from gpyro.argparser import ArgParser
from gpyro.constants import VERSION
from gpyro.guid import getGUID
from gpyro.locks import Event, Lock, RLock
from gpyro.logs import Log, SystemLogger, UserLogger
from gpyro.tracebacks import excepthook, formatTraceback, getPyroTraceback

GENGUID_USAGE: Final = """\
Usage: gpyro-genguid [-h | --help | --version]

Prints a GUID: 32 random hexadecimal digits in four groups, which nobody can guess and which nobody else has.
"""


def genguid_scripthelper(argv: Sequence[str] | None = None) -> int:
    """What ``gpyro-genguid`` does.

    Args:
        argv: its arguments; None for those of the process.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if not arguments:
        print(getGUID())
    elif arguments == ["--version"]:
        print(f"gpyro {VERSION}")
    elif arguments in (["-h"], ["--help"]):
        print(GENGUID_USAGE, end="")
    else:
        print(f"gpyro-genguid: it takes no arguments\n{GENGUID_USAGE.splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


def getLockObject() -> Lock:
    """A new lock, as `threading.Lock`: a greenlet that waits for it lets the others of its thread run."""
    return Lock()


def getRLockObject() -> RLock:
    """A new lock that the greenlet which holds it may take again, otherwise as `getLockObject`."""
    return RLock()


def getEventObject() -> Event:
    """A new event, as `threading.Event`: a greenlet that waits for it lets the others of its thread run."""
    return Event()


def supports_multithreading() -> bool:
    """Whether calls can overlap: always."""
    return True


def supports_compression() -> bool:
    """Whether messages can be compressed: never."""
    return False


__all__ = [
    "ArgParser",
    "Log",
    "SystemLogger",
    "UserLogger",
    "excepthook",
    "formatTraceback",
    "genguid_scripthelper",
    "getEventObject",
    "getGUID",
    "getLockObject",
    "getPyroTraceback",
    "getRLockObject",
    "supports_compression",
    "supports_multithreading",
]
