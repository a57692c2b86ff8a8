r"""Patterns of subjects: regular expressions whose cost is bounded.

Python's `re` tries again from every place where it could have gone another way. Where such places stand one inside the
other (``(a+)+``), or many of them in a row (``a?a?a?...``), the time doubles with each character. So a pattern is
looked at before it is used: what is repeated must itself have one way only to match, and of the places in a row where
there are several, at most `MAX_CHOICES` are allowed. A place does not count if the next character decides: in
``[a-z]+\.`` the repetition can end only where the dot is. With subjects of at most 255 characters that is some ten
milliseconds at the very worst.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

MAX_PATTERN: Final = 500
"""Characters in a pattern."""

MAX_CHOICES: Final = 3
"""Places of a pattern at which there may be several ways to go on."""

MAX_REPEATED: Final = 255
"""Largest number in ``{m,n}``: no subject is longer."""

_SHOWN: Final = 80

# Python's own reading of regular expressions, so that nothing is understood in another way than `re` does.
_parser: Final[Any] = import_module("re._parser")
_ASCII: Final = [chr(code) for code in range(128)]
_REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_CHARACTERS: Final = ("LITERAL", "NOT_LITERAL", "ANY", "IN")
_CATEGORIES: Final[dict[str, Callable[[str], bool]]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda char: char.isalnum() or char == "_",
}

Characters = frozenset[str]
"""The ASCII characters of a set; `_OTHERS` in it stands for all others."""

_OTHERS: Final = "others"
_ALL: Final = frozenset(_ASCII) | {_OTHERS}
_NOTHING: Final[Characters] = frozenset()


class PatternError(ValueError):
    """A pattern that is no regular expression, or may take too much time."""

    def __init__(self, pattern: str, why: str) -> None:
        super().__init__(pattern, why)
        self.pattern, self.why = pattern, why

    def __str__(self) -> str:
        shown = self.pattern if len(self.pattern) <= _SHOWN else self.pattern[:_SHOWN] + "..."
        return f"the pattern {shown!r} {self.why}"


class Pattern:
    """A pattern that was looked at.

    Attributes:
        text: as it was given.
        prefix: what all subjects that match begin with, folded; may be empty.
    """

    __slots__ = ("_match", "prefix", "text")

    def __init__(self, text: str) -> None:
        """Raises PatternError: it is no regular expression, or may take too much time."""
        if len(text) > MAX_PATTERN:
            raise PatternError(text, f"has {len(text)} characters; {MAX_PATTERN} are allowed")
        try:
            tree = _parser.parse(text, re.IGNORECASE)
            _Look(text).at(tree)
            self._match = re.compile(text, re.IGNORECASE).match
        except PatternError:
            raise
        except re.error as error:
            raise PatternError(text, f"is no regular expression: {error}") from None
        except (RecursionError, OverflowError, ValueError) as error:
            raise PatternError(text, f"is too deep or too large: {error}") from None
        self.text = text
        self.prefix = _prefix(tree)

    def matches(self, subject: str) -> bool:
        """Whether a subject, folded, matches from its beginning."""
        return self._match(subject) is not None


def _prefix(tree: Any) -> str:
    """The characters that a pattern begins with for certain."""
    found = ""
    for op, value in tree:
        if str(op) == "AT" and str(value).startswith("AT_BEGINNING"):
            continue
        if str(op) != "LITERAL" or value > 127:  # some of those match others than what they are folded to
            break
        found += chr(value).lower()
    return found


class _Look:
    """One look at a pattern."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._choices = 0

    def _refuse(self, why: str) -> PatternError:
        return PatternError(self._text, f"may take too much time: {why}")

    def at(self, tree: Any, after: Characters | None = None, repeated: bool = False) -> None:
        """Look at a sequence.

        Args:
            tree: as `re` reads it.
            after: what may come behind it; None for nothing, so that no way that was gone is ever gone back.
            repeated: it is inside of a repetition.

        Raises:
            PatternError: there are too many ways to match.
        """
        items = list(tree)
        for number, (op, value) in enumerate(items):
            follows = self._follows(items[number + 1 :], after)
            self._at(str(op), value, follows, repeated)

    def _at(self, op: str, value: Any, follows: Characters | None, repeated: bool) -> None:
        if op in _CHARACTERS or op == "AT":
            return
        if op in _REPEATS:
            low, high, body = value
            self._at_repeat(low, high, body, follows, repeated)
        elif op == "SUBPATTERN":
            if value[1] or value[2]:
                raise self._refuse("flags inside of it are not allowed")
            self.at(value[3], follows, repeated)
        elif op == "ATOMIC_GROUP":
            self.at(value, follows, repeated)
        elif op == "BRANCH":
            self._at_branch(value[1], follows, repeated)
        elif op.startswith("ASSERT"):
            raise self._refuse("looking ahead or back ((?=, (?!, (?<=, (?<!) is not allowed")
        elif op.startswith("GROUPREF"):
            raise self._refuse("references to groups (\\1, (?P=name), (?(1)...)) are not allowed")
        else:
            raise self._refuse(f"{op.lower()} is not known to be safe")

    def _at_repeat(self, low: int, high: Any, body: Any, follows: Characters | None, repeated: bool) -> None:
        most = int(high)
        for number in (low, 0 if most == int(_parser.MAXREPEAT) else most):
            if number > MAX_REPEATED:
                raise self._refuse(f"{{{number}}} repeats more often than a subject has characters")
        first = self._first(list(body), _ALL)
        if len(body) == 1 and str(body[0][0]) in _CHARACTERS:
            pass
        else:
            self.at(body, first | (follows or _NOTHING), repeated=True)
        if low == most:
            if most > 1 and repeated:
                raise self._refuse("a repetition inside of a repetition")
            return
        if repeated:
            raise self._refuse("a repetition inside of a repetition")
        if follows is not None and first & follows:
            self._choice("repetitions")

    def _at_branch(self, branches: list[Any], follows: Characters | None, repeated: bool) -> None:
        firsts = [self._first(list(branch), follows if follows is not None else _NOTHING) for branch in branches]
        apart = sum(len(first) for first in firsts) == len(frozenset().union(*firsts))
        if not apart and repeated:
            raise self._refuse("alternatives inside of a repetition that begin alike")
        if not apart:
            self._choice("alternatives", len(branches))
        for branch in branches:
            self.at(branch, follows, repeated)

    def _choice(self, what: str, ways: int = 2) -> None:
        self._choices += max(1, (ways - 1).bit_length())
        if self._choices > MAX_CHOICES:
            raise self._refuse(
                f"there are more than {MAX_CHOICES} places ({what}) where several ways to go on have to be tried"
            )

    # What may stand where

    def _follows(self, items: list[Any], after: Characters | None) -> Characters | None:
        """The characters that may come next; None if the match is over, whatever comes."""
        if not items and after is None:
            return None
        return self._first(items, after if after is not None else _ALL)

    def _first(self, items: list[Any], after: Characters) -> Characters:
        """The characters that a sequence can begin with, or what stands behind it."""
        found: Characters = _NOTHING
        for op_, value in items:
            op = str(op_)
            if op in _CHARACTERS:
                return found | _characters(op, value)
            if op == "AT":
                if str(value).startswith("AT_END"):  # behind it nothing comes
                    return found
                continue
            if op in _REPEATS:
                low, _, body = value
                found |= self._first(list(body), _NOTHING)
                if low and not self._may_be_empty(list(body)):
                    return found
            elif op in ("SUBPATTERN", "ATOMIC_GROUP"):
                body = list(value[3] if op == "SUBPATTERN" else value)
                found |= self._first(body, _NOTHING)
                if not self._may_be_empty(body):
                    return found
            elif op == "BRANCH":
                for branch in value[1]:
                    found |= self._first(list(branch), _NOTHING)
                if not any(self._may_be_empty(list(branch)) for branch in value[1]):
                    return found
            else:
                return _ALL
        return found | after

    def _may_be_empty(self, items: list[Any]) -> bool:
        for op_, value in items:
            op = str(op_)
            if op in _CHARACTERS:
                return False
            if op in _REPEATS and value[0] and not self._may_be_empty(list(value[2])):
                return False
            if op == "SUBPATTERN" and not self._may_be_empty(list(value[3])):
                return False
            if op == "ATOMIC_GROUP" and not self._may_be_empty(list(value)):
                return False
            if op == "BRANCH" and not any(self._may_be_empty(list(branch)) for branch in value[1]):
                return False
        return True


def _characters(op: str, value: Any) -> Characters:
    """What one character of a pattern stands for, whatever its case."""
    if op == "ANY":
        return _ALL
    if op == "LITERAL":
        return _with_case({chr(value)})
    if op == "NOT_LITERAL":
        return _ALL - _with_case({chr(value)})
    found: set[str] = set()
    negated = False
    for kind_, what in value:
        kind = str(kind_)
        if kind == "NEGATE":
            negated = True
        elif kind == "LITERAL":
            found.add(chr(what))
        elif kind == "RANGE":
            low, high = what
            found.update(chr(code) for code in range(low, min(high, 127) + 1))
            if high > 127:
                found.add(_OTHERS)
        else:
            name = str(what).replace("_NOT_", "_")
            test = _CATEGORIES.get(name)
            inside = {char for char in _ASCII if test is None or test(char)} | {_OTHERS}
            found |= inside if name == str(what) else set(_ALL - inside) | {_OTHERS}
    if not negated:
        return _with_case(found)
    return (_ALL - (_with_case(found) - {_OTHERS})) | {_OTHERS}


def _with_case(chars: set[str]) -> Characters:
    found: set[str] = set()
    for char in chars:
        if char == _OTHERS or not char.isascii():
            found |= {_OTHERS, "k", "s", "i"}  # the ASCII letters that are the same as others, whatever their case
        else:
            found |= {char.lower(), char.upper()}
    return frozenset(found)
