"""What values configuration items can take.

`expected` completes the sentence "expected ..."; `read` and `check` raise ValueError, with a text where there is more
to say.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

from gpyro import names, uri
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
    """A whole number from `low` to `high`; where `endless`, any negative one stands for no end and is kept as -1."""

    low: int
    high: int
    endless: bool = False

    @property
    def expected(self) -> str:
        return f"a whole number from {self.low} to {self.high}{', or a negative one for ever' * self.endless}"

    def read(self, text: str) -> int:
        return int(text)

    def check(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            unfit()
        if self.endless and value < 0:
            return -1
        return value if self.low <= value <= self.high else unfit()


@dataclass(frozen=True, slots=True)
class Seconds:
    """A number of seconds, whole or not, from `low` to `high`; kept as float.

    Where `endless`, any negative one stands for no end and is kept as -1.
    """

    low: float
    high: float = DAY
    endless: bool = False

    @property
    def expected(self) -> str:
        return f"a number of seconds from {self.low:g} to {self.high:g}{', or a negative one for ever' * self.endless}"

    def read(self, text: str) -> float:
        return float(text)

    def check(self, value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            unfit()
        if self.endless and value < 0:
            return -1.0
        # A NaN fails this comparison, too.
        return float(value) if self.low <= value <= self.high else unfit()


@dataclass(frozen=True, slots=True)
class Host:
    """A host name or an IP address, where `unix` also the address of a Unix socket.

    '' (or None, if `optional`) for none.
    """

    optional: bool = False
    unix: bool = True

    @property
    def expected(self) -> str:
        words = ["a host name", "an IP address", *["./u:/path"] * self.unix]
        return f"{', '.join(words)}, or {'None' if self.optional else 'nothing'}"

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
            if not self.unix and uri.is_unix(value):
                unfit()
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


@dataclass(frozen=True, slots=True)
class FilePath:
    """The name of a file or directory.

    It becomes absolute in `resolve`: a relative one is looked for below the directory that the item `below` names,
    or below the current one if `below` is empty.

    Attributes:
        below: an item of this kind, or nothing.
        empty: what "no file" is kept as; NotImplemented where there has to be one.
    """

    CURDIR = "$CURDIR"
    STORAGE = "$STORAGE"

    below: str = "PYRO_STORAGE"
    empty: Any = NotImplemented

    @property
    def expected(self) -> str:
        beginnings = f"{self.CURDIR} or {self.STORAGE}" if self.below else self.CURDIR
        none = "" if self.empty is NotImplemented else ", or nothing"
        return f"the name of a file or directory, which may begin with {beginnings}{none}"

    def read(self, text: str) -> str:
        return text

    def check(self, value: Any) -> str | None:
        if value is None or value == "":
            return unfit() if self.empty is NotImplemented else self.empty  # type: ignore[no-any-return]
        name = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(name, str):
            unfit()
        try:
            if b"\0" in os.fsencode(name):
                raise ValueError("there is a NUL character in it")
        except UnicodeEncodeError:
            raise ValueError("there is a lone surrogate in it") from None
        beginning = name.split("/")[0]
        if beginning[:1] == "~":
            raise ValueError(f"~ is not replaced here; ./{name} is a file of that name")
        if beginning[:1] == "$" and beginning not in (self.CURDIR, *[self.STORAGE] * bool(self.below)):
            raise ValueError(f"{beginning} is not replaced here; ./{name} is a file of that name")
        return name

    def resolve(self, name: str | None, directories: Mapping[str, str]) -> str | None:
        """The absolute name.

        Args:
            name: as `check` returned it.
            directories: by item, and the current one by "".
        """
        if not name:
            return name
        beginning, _, rest = name.partition("/")
        base = {self.CURDIR: "", self.STORAGE: "PYRO_STORAGE"}.get(beginning)
        if base is None:
            base, rest = self.below, name
        return os.path.normpath(os.path.join(directories[base], rest))


@dataclass(frozen=True, slots=True)
class Group:
    """The absolute name of a group in the name server."""

    expected: str = "the absolute name of a group, such as :Default"

    def read(self, text: str) -> str:
        return text

    def check(self, value: Any) -> str:
        if not isinstance(value, str) or value[:1] != ":":
            unfit()
        wrong = names.fault(value)
        if wrong:
            raise ValueError(wrong)
        return value


def unfit() -> NoReturn:
    """A value is none of its kind, of which there is no more to say."""
    raise ValueError
