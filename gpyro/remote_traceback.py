"""The traceback that an exception had on the other side: an attribute of the exception, and a note for all to see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from gpyro.constants import TRACEBACK_ATTRIBUTE

REMOTE_HEADER: Final = " +--- This exception occured remotely (Pyro) - Remote traceback:"
REMOTE_FOOTER: Final = " +--- End of remote traceback"

MAX_NOTE: Final = 100_000
"""Characters of a remote traceback in a note; each becomes up to four, and a line takes some more."""

CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal would obey."""


def remote_note(lines: Sequence[str]) -> str:
    """Frame the lines of a remote traceback as the text of an exception note.

    Control characters are written out: the lines are the peer's, and a terminal would obey them. Of more than
    `MAX_NOTE` characters only the end is there, which says what was raised.
    """
    framed = [REMOTE_HEADER]
    for line in _the_end(lines).split("\n"):
        framed.append(" | " + CONTROL.sub(lambda found: ascii(found.group())[1:-1], line))
    return "\n".join([*framed, REMOTE_FOOTER])


def _the_end(lines: Sequence[str]) -> str:
    """The last lines, as far as they fit."""
    parts: list[str] = []
    room = MAX_NOTE
    for line in reversed(lines):
        text = line.removesuffix("\n")
        if len(text) >= room:
            parts += [text[len(text) - room :], "... (what came before is left out)"]
            break
        room -= len(text) + 1
        parts.append(text)
    return "\n".join(reversed(parts))


def attach_remote_traceback(exc: BaseException, lines: Sequence[str]) -> None:
    """Give an exception the traceback it had on the other side, as attribute and as note.

    It takes the place of an earlier one: an exception that passed two servers shows what the nearer one sent, in which
    the farther one's is framed.
    """
    notes = [note for note in notes_of(exc) if not is_remote_note(note)]
    # Past the class's own __setattr__: a frozen dataclass may be an exception too.
    BaseException.__setattr__(exc, TRACEBACK_ATTRIBUTE, list(lines))
    if lines or len(notes) < len(notes_of(exc)):
        BaseException.__setattr__(exc, "__notes__", [*notes, remote_note(lines)] if lines else notes)


def is_remote_note(note: object) -> bool:
    """Whether an exception's note is a remote traceback."""
    return isinstance(note, str) and note.startswith(REMOTE_HEADER)


def notes_of(exc: BaseException | None) -> list[Any]:
    """The notes of an exception; none, where it has nonsense there."""
    notes = _attribute(exc, "__notes__")
    return list(notes) if isinstance(notes, list | tuple) else []


def remote_lines(exc: BaseException | None) -> list[str]:
    """The remote traceback that an exception has as attribute."""
    lines = _attribute(exc, TRACEBACK_ATTRIBUTE)
    if isinstance(lines, str):
        return lines.splitlines()
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list | tuple) else []


def _attribute(exc: BaseException | None, name: str) -> Any:
    # An exception class may compute its attributes, and fail.
    try:
        return getattr(exc, name, None)
    except Exception:
        return None
