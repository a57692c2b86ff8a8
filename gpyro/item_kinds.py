"""What values configuration items can take.

`expected` completes the sentence "expected ..."; `read` and `check` raise ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

from gpyro import uri
from gpyro.errors import URIError

DAY: Final = 86_400.0


class Kind(Protocol):
    """What values an item can take."""

    @property
    def expected(self) -> str:
        """Completes the sentence "expected ..."."""

    def read(self, text: str) -> Any:
        """Turn the text of an environment variable or file into a value that `check` can judge, or raise ValueError."""

    def check(self, value: Any) -> Any:
        """Return the value in its proper type, or raise ValueError."""


@dataclass(frozen=True, slots=True)
class Flag:
    """0 or 1, kept as bool."""

    expected: str = "0 or 1"

    def read(self, text: str) -> bool:
        return {"0": False, "1": True}[text] if text in ("0", "1") else unfit()

    def check(self, value: Any) -> bool:
        return bool(value) if isinstance(value, int) and value in (0, 1) else unfit()


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def read(self, text: str) -> int:
        return int(text)

    def check(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            unfit()
        return value


@dataclass(frozen=True, slots=True)
class Seconds:
    """A number of seconds, whole or not, from `low` to `high`; kept as float."""

    low: float
    high: float = DAY

    @property
    def expected(self) -> str:
        return f"a number of seconds from {self.low:g} to {self.high:g}"

    def read(self, text: str) -> float:
        return float(text)

    def check(self, value: Any) -> float:
        # A NaN fails this comparison too.
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            unfit()
        return float(value)


@dataclass(frozen=True, slots=True)
class Host:
    """A host name, an IP address or the address of a Unix socket; '' (or None, if `optional`) for none."""

    optional: bool = False

    @property
    def expected(self) -> str:
        return f"a host name, an IP address, ./u:/path{', or None' if self.optional else ', or nothing'}"

    def read(self, text: str) -> str:
        return text

    def check(self, value: Any) -> str | None:
        if self.optional and (value is None or value == ""):
            return None
        if value != "" or not isinstance(value, str):
            try:
                uri.check_address(value)
            except URIError as error:
                raise ValueError(str(error)) from None
        return str(value)


@dataclass(frozen=True, slots=True)
class Choices:
    """One or more of some words, best first, separated by commas; kept as a string without blanks."""

    words: Sequence[str]

    @property
    def expected(self) -> str:
        return f"one or more of {', '.join(self.words)}, separated by commas, each once"

    def read(self, text: str) -> str:
        return text

    def check(self, value: Any) -> str:
        chosen = [word.strip() for word in value.split(",")] if isinstance(value, str) else []
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(self.words):
            unfit()
        return ",".join(chosen)


def unfit() -> NoReturn:
    """A value is none of its kind."""
    raise ValueError
