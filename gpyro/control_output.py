"""What gpyro-nsc and gpyro-esc write: texts, tables, a JSON object for each line for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, TextIO, TypeVar

T = TypeVar("T")

LINES_AT_ONCE: Final = 1000
"""Lines that are written together, and rows of a table that are aligned with each other."""

BETWEEN_COLUMNS: Final = "  "


def printable(text: str) -> str:
    """The text in one line, with all that a terminal would obey, or not show, written out as Python does."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The rows as lines with aligned columns.

    They are aligned with those before them, and with the next `LINES_AT_ONCE`, so that there may be any number.
    """
    widths: list[int] = []
    for some in batched(rows, LINES_AT_ONCE):
        cells = [[printable(cell) for cell in row] for row in some]
        here = [max(map(len, column)) for column in zip(*cells, strict=True)]
        widths = list(map(max, here, widths)) if widths else here
        for *padded, last in cells:
            yield BETWEEN_COLUMNS.join([*map(str.ljust, padded, widths), last])


def headed(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """The rows of a table below its header."""
    yield header
    yield from rows


def date(seconds: object) -> str:
    """A time, given in seconds since 1970, as people here read it; '-' if there is none."""
    if seconds is None:
        return "-"
    try:
        return datetime.fromtimestamp(float(seconds)).isoformat(" ", "seconds")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):  # anybody may have set it
        return str(seconds)


def as_json(value: Any) -> Any:
    """The value if JSON has such values, else the text by which Python shows it."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return value


class Output:
    """Writes to a stream.

    Attributes:
        as_json: whether for scripts.
        as_tables: whether for people at a terminal.
    """

    def __init__(self, as_json: bool, stream: TextIO | None = None) -> None:
        """`stream` is a text stream; None for standard output."""
        self._stream = sys.stdout if stream is None else stream
        self.as_json = as_json
        self.as_tables = not as_json and self._stream.isatty()

    def text(self, *lines: str) -> None:
        """Write lines, unless it is for scripts."""
        if not self.as_json:
            self.lines(map(printable, lines))

    def object(self, **members: Any) -> None:
        """Write a JSON object, if it is for scripts."""
        if self.as_json:
            self.objects([members])

    def objects(self, found: Iterable[dict[str, Any]]) -> None:
        """Write JSON objects."""
        self.lines(map(json.dumps, found))

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines that are printable, many at a time.

        Raises:
            BrokenPipeError: nobody reads them.
            OSError: they cannot be written.
        """
        for some in batched(lines, LINES_AT_ONCE):
            self._write("\n".join([*some, ""]))

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(f"the output cannot be written: {error.strerror or error}") from error


def batched(things: Iterable[T], count: int) -> Iterator[list[T]]:
    """The things, so many at a time."""
    iterator = iter(things)
    while some := list(islice(iterator, count)):
        yield some
