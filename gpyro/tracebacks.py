"""Tracebacks that show what happened on the other side."""

from __future__ import annotations

import linecache
import reprlib
import sys
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Final

from gpyro.errors import ConfigurationError
from gpyro.remote_traceback import CONTROL, is_remote_note, notes_of, remote_lines, remote_note
from gpyro.settings import config

_CAUSED_BY: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_DURING: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"
_MAX_FRAMES: Final = 50
_MAX_LOCALS: Final = 50
_MAX_CHAIN: Final = 20

_KEEPS_SECRETS: Final = ("gpyro.auth", "gpyro.validators", "scramp")
"""Modules whose local values are never shown."""

_SECRETS: Final = ("ident", "identification", "ids")
"""Local values of the library elsewhere that are not shown either: what programs say of who they are."""


# ---- Pyro's functions


def getPyroTraceback(
    exc_obj: BaseException | None,
    exc_type: type[BaseException] | None = None,
    exc_trb: TracebackType | None = None,
) -> list[str]:
    """Return the traceback of an exception as lines, with that of the other side at the end if there is one.

    Without type and traceback, those of the exception itself are taken; without an exception, the one being handled.
    """
    if exc_obj is None:
        exc_obj = sys.exc_info()[1]
    lines = _format(exc_type, exc_obj, exc_trb, None, keep_remote=False)
    remote = next((note for note in reversed(notes_of(exc_obj)) if is_remote_note(note)), None)
    if remote is None and (own := remote_lines(exc_obj)):
        remote = remote_note(own)
    if remote is not None:
        lines.extend(line + "\n" for line in remote.split("\n"))
    return lines


def formatTraceback(
    ex_type: type[BaseException] | None = None,
    ex_value: BaseException | None = None,
    tb: TracebackType | None = None,
    *,
    detailed: bool | None = None,
) -> list[str]:
    """Return the traceback of an exception (without arguments: of the one being handled) as lines.

    Args:
        ex_type: class of the exception.
        ex_value: the exception.
        tb: its traceback, if not the one it carries.
        detailed: whether to show local values; None for what PYRO_DETAILED_TRACEBACK says.
    """
    if ex_value is None and ex_type is None:
        ex_value = sys.exc_info()[1]
    return _format(ex_type, ex_value, tb, detailed, keep_remote=True)


def excepthook(ex_type: type[BaseException], ex_value: BaseException, ex_tb: TracebackType | None) -> None:
    """Print an exception with its remote traceback; meant for ``sys.excepthook = gpyro.util.excepthook``."""
    if sys.stderr is not None:
        sys.stderr.write("".join(getPyroTraceback(ex_value, ex_type, ex_tb)))
        sys.stderr.flush()


# ---- formatting


def _format(
    ex_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
    detailed: bool | None,
    *,
    keep_remote: bool,
) -> list[str]:
    """Format an exception and those it came from, oldest first.

    Each has its remote traceback once, as a note; the last one only if `keep_remote`.
    """
    if exc is None:
        return [f"{ex_type.__name__ if ex_type else 'NoneType: None'}\n"]
    if detailed is None:
        detailed = _detailed_by_default()
    lines: list[str] = []
    for link, joint in reversed(list(_chain(exc))):
        trace = (tb or exc.__traceback__) if link is exc else link.__traceback__
        # As a part of something, Python looks at no link behind it; there may be thousands, and each is formatted by
        # itself. But nor does it at the members of a group.
        alone = None if isinstance(link, BaseExceptionGroup) else set[int]()
        whole = traceback.TracebackException(type(link), link, trace, compact=True, _seen=alone)
        whole.__cause__ = whole.__context__ = None
        if alone is not None:
            whole.exceptions = None
        _settle_notes(whole, link, keep_remote or link is not exc)
        if detailed and trace is not None:
            lines.extend(_detailed_frames(trace))
            lines.extend(_last_lines(whole))
        else:
            lines.extend(whole.format())
        if joint:
            lines.append(joint)
    return lines


def _detailed_by_default() -> bool:
    # Whoever formats a traceback has one error already.
    try:
        return config.PYRO_DETAILED_TRACEBACK
    except ConfigurationError:
        return False


def _chain(exc: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Go from an exception to what it came from; with each the words that join it to the one before it."""
    seen: set[int] = set()
    link: BaseException | None = exc
    joint = ""
    while link is not None and id(link) not in seen and len(seen) < _MAX_CHAIN:
        seen.add(id(link))
        yield link, joint
        if link.__cause__ is not None:
            link, joint = link.__cause__, _CAUSED_BY
        else:
            link, joint = None if link.__suppress_context__ else link.__context__, _DURING


def _settle_notes(whole: traceback.TracebackException, exc: BaseException, keep_remote: bool) -> None:
    """Make the remote traceback one note at the end of what will be printed, or no note."""
    notes = notes_of(exc)
    remote = [note for note in notes if is_remote_note(note)][-1:]
    if not remote and (lines := remote_lines(exc)):
        remote = [remote_note(lines)]
    others = [note for note in notes if not is_remote_note(note)]
    whole.__notes__ = others + (remote if keep_remote else [])
    for part, member in zip(whole.exceptions or (), getattr(exc, "exceptions", ()), strict=False):
        _settle_notes(part, member, keep_remote=True)


def _last_lines(whole: traceback.TracebackException) -> Iterator[str]:
    yield from whole.format_exception_only()
    for number, part in enumerate(whole.exceptions or (), 1):
        yield f"  +--- exception {number} of {len(whole.exceptions or ())} in the group\n"
        for text in part.format():
            yield from (f"  | {line}\n" for line in text.removesuffix("\n").split("\n"))


def _detailed_frames(tb: TracebackType) -> Iterator[str]:
    frames: list[tuple[FrameType, int]] = []
    at: TracebackType | None = tb
    while at is not None:
        frames.append((at.tb_frame, at.tb_lineno))
        at = at.tb_next
    yield "Traceback (most recent call last), with local values:\n"
    skipped = range(_MAX_FRAMES // 2, len(frames) - _MAX_FRAMES // 2)
    for number, (frame, line_number) in enumerate(frames):
        if number in skipped:
            if number == skipped.start:
                yield f"  ... {len(skipped)} frames left out ...\n"
            continue
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {line_number}, in {_function(frame)}\n'
        source = _source_line(frame, line_number)
        if source:
            yield f"    {source}\n"
        # The first frame is the machinery's that called; what it holds explains nothing.
        if number > 0 or len(frames) == 1:
            yield from _locals(frame)


def _function(frame: FrameType) -> str:
    name = frame.f_code.co_qualname
    owner, dot, method = name.rpartition(".")
    return f"{owner}::{method}" if dot and not owner.endswith("<locals>") else name


def _source_line(frame: FrameType, line_number: int) -> str:
    try:
        return linecache.getline(frame.f_code.co_filename, line_number, frame.f_globals).strip()
    except Exception:
        return ""


def _locals(frame: FrameType) -> Iterator[str]:
    values = frame.f_locals
    names = [name for name in values if not name.startswith("__")]
    if names:
        yield "    Local values:\n"
    module = str(frame.f_globals.get("__name__"))
    keeps_secrets = module.startswith(_KEEPS_SECRETS)
    for name in names[:_MAX_LOCALS]:
        hidden = keeps_secrets or (module.startswith("gpyro.") and name in _SECRETS)
        yield f"      {name} = {'<hidden>' if hidden else safe_repr(values.get(name))}\n"
    if len(names) > _MAX_LOCALS:
        yield f"      ... and {len(names) - _MAX_LOCALS} more\n"


class _ShortRepr(reprlib.Repr):
    """Representations of at most a few hundred characters."""

    LONG: Final = 1000

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = 200
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 10

    def repr_instance(self, x: Any, level: int) -> str:
        # What has no method of its own here is represented whole and then cut; not when that is known to be long.
        if isinstance(x, bytes | bytearray | str | list | tuple | dict | set | frozenset) and len(x) > self.LONG:
            return f"<{type(x).__name__} of length {len(x)}>"
        return super().repr_instance(x, level)


_short: Final = _ShortRepr()
MAX_REPR: Final = 500


def safe_repr(value: object) -> str:
    """A representation in one line of at most 500 characters, whatever the value does."""
    try:
        text = _short.repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    text = CONTROL.sub("?", text).replace("\n", " ")
    return text if len(text) <= MAX_REPR else text[: MAX_REPR - 3] + "..."
