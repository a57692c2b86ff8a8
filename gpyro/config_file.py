"""The configuration file: ITEM=VALUE in each line, and what may go wrong with that.

A comment begins with a # that begins the line or follows white space. A value has no white space, and no quotes around
it; an empty one leaves the item as if the line were not there.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import Final

from gpyro.errors import ConfigurationError

MAX_SIZE: Final = 1 << 20
"""Bytes; many times what all items together take."""

_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
_LINE: Final = re.compile(r"(\w+)\s*=\s*(\S*)(.*)", re.ASCII)
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says.

    Attributes:
        number: of the line, from 1.
        name: of the item.
        text: the value; empty where the line leaves the item as it is.
    """

    number: int
    name: str
    text: str


def read(path: str) -> list[Line]:
    """The lines of a file that name an item; whether there are such items is not looked at.

    Raises:
        ConfigurationError: it cannot be read, is not a text, or has a line that cannot be understood.
    """
    lines: list[Line] = []
    set_in: dict[str, int] = {}
    for number, raw in enumerate(_text(path).split("\n"), 1):
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise at(path, number, f"syntax error: {_shown(line)} is not of the form ITEM=VALUE")
        name, text, rest = found.groups()
        if rest:
            raise at(path, number, f"syntax error: {_shown(rest.strip())} after the value, which ends at white space")
        if text[:1] in ("'", '"'):
            raise at(path, number, f"syntax error: {_shown(text)}: a value is written without quotes")
        if text and set_in.setdefault(name, number) != number:
            raise at(path, number, f"{name} is set twice, the first time in line {set_in[name]}")
        lines.append(Line(number, name, text))
    return lines


def at(path: str, number: int, text: str) -> ConfigurationError:
    """The error about a line."""
    return ConfigurationError(f"{path}, line {number}: {text}")


def _text(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise OSError("it is a directory")
        # Opening a pipe would wait for somebody to write into it.
        if not stat.S_ISREG(mode) and path != os.devnull:
            raise OSError("it is no ordinary file")
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise OSError(f"it has more than {MAX_SIZE} bytes")
        text = data.decode("utf-8-sig")
        if "\0" in text:
            raise OSError("it is no text: there is a NUL character in it")
    except UnicodeDecodeError as error:
        raise _unreadable(
            path, f"it is no text in UTF-8: byte {error.start} is {error.object[error.start]:#x}"
        ) from None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    return text


def _unreadable(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"error reading config file {path}: {why}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
