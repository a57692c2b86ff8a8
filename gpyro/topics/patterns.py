r"""Patterns of subjects: regular expressions whose cost is bounded.

Python's `re` tries again from every place where it could have gone another way. Where such places stand one inside the
other (``(a+)+``), or many of them in a row (``a?a?a?...``), the time doubles with each character. So a pattern is
looked at before it is used: what is repeated must itself have one way only to match, and of the places in a row where
there are several, at most `MAX_CHOICES` are allowed. A place does not count if the next character decides: in
``[a-z]+\.`` the repetition can end only where the dot is.

What comes behind such places is tried as often as there are ways to get there, so all of that is added up, too, for the
longest subject: `Pattern.work`, in steps of about ten nanoseconds at worst.
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

MAX_WORK: Final = 50_000_000
"""Steps of one pattern: with three such places enough for what is simple, such as ``.*a.*b.*c``."""

MAX_REPEATED: Final = 255
"""Largest number in ``{m,n}``: no subject is longer."""

_SHOWN: Final = 80

# Python's own reading of regular expressions, so that nothing is understood in another way than `re` does.
_parser: Final[Any] = import_module("re._parser")
_ASCII: Final = [chr(code) for code in range(128)]
_REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_CHARACTERS: Final = ("LITERAL", "NOT_LITERAL", "ANY", "IN")
_CODE: Final = {"LITERAL": 1.0, "ANY": 1.0, "NOT_LITERAL": 2.0, "IN": 5.0}
"""Steps for one character."""

_BACK, _BACK_TO_LITERAL, _LAZY, _GROUP, _MARK = 10.0, 1.0, 8.0, 25.0, 3.0
"""Steps for going one back, also where one character decides; one on where as few as may be are taken; once round a
group; and for noting where one ends."""

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
        work: steps that it takes at worst, about.
    """

    __slots__ = ("_match", "prefix", "text", "work")

    def __init__(self, text: str) -> None:
        """Raises PatternError: it is no regular expression, or may take too much time."""
        if len(text) > MAX_PATTERN:
            raise PatternError(text, f"has {len(text)} characters; {MAX_PATTERN} are allowed")
        try:
            tree = _parser.parse(text, re.IGNORECASE)
            look = _Look(text)
            look.at(tree)
            self._match = re.compile(text, re.IGNORECASE).match
        except PatternError:
            raise
        except re.error as error:
            raise PatternError(text, f"is no regular expression: {error}") from None
        except (RecursionError, OverflowError, ValueError) as error:
            raise PatternError(text, f"is too deep or too large: {error}") from None
        self.text, self.work = text, int(look.work)
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
    """One look at a pattern.

    Attributes:
        work: steps so far.
    """

    def __init__(self, text: str) -> None:
        self.work = 0.0
        self._text = text
        self._choices = 0
        self._ways = 1.0  # how often the next part may be tried
        self._anywhere = False  # the last choice was where the next part begins
        self._long = 0  # repetitions of many among the choices: of two in a row, the second has half the room

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
        row: list[Characters] = []
        for number, (op_, value) in enumerate(items):
            op = str(op_)
            if op in _CHARACTERS:
                chars = _characters(op, value)
                # What does not begin again inside of itself is seldom looked at beyond its beginning.
                self._step(_CODE[op] if not row or chars & row[0] else 0.0)
                row.append(chars)
                continue
            self._after_row(row)
            row = []
            self._anywhere = False
            follows = self._follows(items[number + 1 :], after)
            if op in _REPEATS:
                decided = number + 1 < len(items) and str(items[number + 1][0]) == "LITERAL"
                self._at_repeat(op, value, follows, repeated, _BACK_TO_LITERAL if decided else _BACK)
            else:
                self._at(op, value, follows, repeated)
        self._after_row(row)

    def _after_row(self, row: list[Characters]) -> None:
        """After a row of characters: one that may be anywhere is so only as often as it has room."""
        if row and self._anywhere:
            apart = next((place for place, chars in enumerate(row) if place and chars & row[0]), len(row))
            self._ways = max(1.0, self._ways / apart)
            self._anywhere = False

    def _step(self, steps: float) -> None:
        self.work += self._ways * steps
        if self.work > MAX_WORK:
            raise self._refuse("what comes late in it would be tried too often, after all that comes before")

    def _at(self, op: str, value: Any, follows: Characters | None, repeated: bool) -> None:
        if op == "AT":
            self._step(1.0)
        elif op == "SUBPATTERN":
            if value[1] or value[2]:
                raise self._refuse("flags inside of it are not allowed")
            self.at(value[3], follows, repeated)
            self._step(_MARK)
        elif op == "ATOMIC_GROUP":
            ways = self._ways
            self.at(value, follows, repeated)
            self._ways, self._anywhere = ways, False  # one way out of it
        elif op == "BRANCH":
            self._at_branch(value[1], follows, repeated)
        elif op.startswith("ASSERT"):
            raise self._refuse("looking ahead or back ((?=, (?!, (?<=, (?<!) is not allowed")
        elif op.startswith("GROUPREF"):
            raise self._refuse("references to groups (\\1, (?P=name), (?(1)...)) are not allowed")
        else:
            raise self._refuse(f"{op.lower()} is not known to be safe")

    def _at_repeat(self, op: str, value: Any, follows: Characters | None, repeated: bool, back: float) -> None:
        low, high, body = value
        unlimited = int(high) == int(_parser.MAXREPEAT)
        for number in (low, 0 if unlimited else int(high)):
            if number > MAX_REPEATED:
                raise self._refuse(f"{{{number}}} repeats more often than a subject has characters")
        most = MAX_REPEATED if unlimited else int(high)
        first = self._first(list(body), _ALL)
        times = max(1.0, min(most, MAX_REPEATED / (self._long + 1)))
        if follows is None:
            times = min(times, max(1, low))  # more is taken once: then it is over
        simple = len(body) == 1 and str(body[0][0]) in _CHARACTERS
        if not simple:
            ways = self._ways
            self._ways *= times
            self.at(body, first | (follows or _NOTHING), repeated=True)
            self._ways = ways
        if repeated and (low < most or most > 1):
            raise self._refuse("a repetition inside of a repetition")
        several = low < most and follows is not None and bool(first & follows)
        if several:
            self._choice("repetitions")
        if simple:
            self._step(times * ((_LAZY if op == "MIN_REPEAT" else back) + _CODE[str(body[0][0])]))
        else:
            self._step(times * _GROUP)
        if several:
            self._ways *= max(1.0, min(most - low + 1, times))
            self._anywhere = most - low > 1
            self._long += self._anywhere

    def _at_branch(self, branches: list[Any], follows: Characters | None, repeated: bool) -> None:
        firsts = [self._first(list(branch), follows if follows is not None else _NOTHING) for branch in branches]
        apart = sum(len(first) for first in firsts) == len(frozenset().union(*firsts))
        if not apart and repeated:
            raise self._refuse("alternatives inside of a repetition that begin alike")
        if not apart:
            self._choice("alternatives", len(branches))
        before, after = self._ways, []
        for branch in branches:
            self._ways = before
            self._step(1.0)
            self.at(branch, follows, repeated)
            after.append(self._ways)
        self._ways = max(after) if apart else sum(after)
        self._anywhere = False

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
