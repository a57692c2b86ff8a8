"""Names in the name space: what they may look like, and how relative ones become absolute.

A name is a path of parts with dots between them. An absolute one begins with a colon, ``:Test.simple.object1``; ``:``
alone is the root group. A part is any printable ASCII characters but the dot, the colon and the backslash. Whether a
name is a group's or an object's does not show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gpyro.errors import NamingError

ROOT: Final = ":"
SEPARATOR: Final = "."

MAX_NAME: Final = 1024
"""Characters in an absolute name; a URI has room for it."""

MAX_PART: Final = 255
"""Characters in one part of a name."""

_SHOWN: Final = 100

_PARTS: Final = re.compile(r"[!-\-/-9;-\[\]-~]{1,255}(?:\.[!-\-/-9;-\[\]-~]{1,255})*")
_STRAY: Final = re.compile(r"[^!-\-/-9;-\[\]-~.]")


def fault(name: object) -> str:
    """What is wrong with a name, be it absolute or relative, and where; empty if nothing is."""
    if not isinstance(name, str):
        return f"a name is a string, not {type(name).__name__}"
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME:
        return f"it is longer than {MAX_NAME} characters"
    start = 1 if name[0] == ROOT else 0
    if name == ROOT or _PARTS.fullmatch(name, start):
        return ""
    stray = _STRAY.search(name, start)
    if stray:
        return f"{stray.group()!a} in a name (at character {stray.start() + 1})"
    at = start
    for part in name[start:].split(SEPARATOR):
        if not part:
            return f"a part of it is empty (at character {at + 1})"
        if len(part) > MAX_PART:
            return f"a part of it is longer than {MAX_PART} characters (at character {at + 1})"
        at += len(part) + 1
    raise AssertionError(f"nothing is wrong with {name!a}")


def full_name(name: str, default_group: str | Callable[[], str], text: str = "invalid name") -> str:
    """The absolute form of a name.

    Args:
        name: an absolute name, which is only checked, or a relative one.
        default_group: absolute name of the group that relative names are in, or what tells it.
        text: what an error is to begin with.

    Raises:
        NamingError: it is no name, or it is relative and the default group is no absolute name. `args` is the text, the
            name as it was given (shortened if it is long), and what is wrong with it.
    """
    if isinstance(name, str) and name[:1] == ROOT and len(name) <= MAX_NAME and _PARTS.fullmatch(name, 1):
        return name  # as nearly always
    wrong = fault(name)
    if wrong:
        raise NamingError(text, shown(name), wrong)
    if name == ROOT:
        return name
    if callable(default_group):
        default_group = default_group()
    if not isinstance(default_group, str) or default_group[:1] != ROOT:
        raise NamingError("default group name is not absolute", shown(default_group))
    wrong = fault(default_group)
    if wrong:
        raise NamingError("invalid groupname", shown(default_group), wrong)
    whole = join(default_group, name)
    if len(whole) > MAX_NAME:
        raise NamingError(text, shown(whole), f"it is longer than {MAX_NAME} characters")
    return whole


def join(group: str, part: str) -> str:
    """The name of something in a group, whose name is absolute."""
    return ROOT + part if group == ROOT else f"{group}{SEPARATOR}{part}"


def split(name: str) -> tuple[str, str]:
    """The group that an absolute name is in, and its last part. The root is in no group: both are empty."""
    group, dot, part = name.rpartition(SEPARATOR)
    return (group, part) if dot else (ROOT if name != ROOT else "", name[1:])


def shown(name: object) -> str:
    """A name as it stands in an error: as it is, unless it is long or no text at all."""
    if not isinstance(name, str):
        return type(name).__name__
    text = name.encode("utf-8", "backslashreplace").decode()  # lone surrogates could not travel
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(name)} characters)"
