"""Who gets the events of a subject: those who subscribed to it, and those with a pattern that it matches.

A subject that nobody has looked up yet is compared with the patterns whose fixed beginning it has, which are found by
that beginning; what matched is remembered. Patterns that come later are compared with a remembered subject when it is
looked up next, each once. So in the long run a look-up costs what it finds, however many patterns there are that do not
match; forgetting all and looking again whenever a subscription changes would cost all of them each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from .patterns import Pattern, PatternError

R = TypeVar("R")

MAX_REMEMBERED: Final = 10_000
"""Subjects whose patterns are remembered."""

MAX_NEW: Final = 10_000
"""Patterns that came since; with more, the remembered subjects are forgotten."""


MAX_WORK_TOGETHER: Final = 200_000_000
"""Steps that the dear ones of all patterns may take with a new subject: some two seconds, if somebody means harm."""

_CHEAP: Final = 10_000
"""Steps of a pattern that does not count in that."""


class _Subscribed(Generic[R]):
    """A pattern, and those who subscribed to it, in the order they did."""

    __slots__ = ("pattern", "receivers")

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.receivers: dict[R, None] = {}


class _Remembered(Generic[R]):
    """The patterns that match a subject, among the first so many of those that came."""

    __slots__ = ("looked_at", "matching")

    def __init__(self, matching: list[_Subscribed[R]], looked_at: int) -> None:
        self.matching = matching
        self.looked_at = looked_at


class TopicIndex(Generic[R]):
    """Subscriptions of receivers, which are any hashable objects. Subjects are folded ones.

    Attributes:
        subscriptions: how many there are.
    """

    def __init__(self) -> None:
        self._exact: dict[str, dict[R, None]] = {}
        self._patterns: dict[str, _Subscribed[R]] = {}
        self._by_prefix: dict[str, dict[_Subscribed[R], None]] = {}
        self._lengths: Counter[int] = Counter()
        self._remembered: dict[str, _Remembered[R]] = {}
        self._came: list[_Subscribed[R]] = []
        self._work = 0
        self.subscriptions = 0

    def __len__(self) -> int:
        """How many subjects and patterns are subscribed to."""
        return len(self._exact) + len(self._patterns)

    def subjects(self) -> Iterable[str]:
        """The subjects that are subscribed to, not those that match a pattern."""
        return self._exact.keys()

    def add(self, subject: str, receiver: R) -> None:
        """Subscribe to a subject; nothing if that is so already."""
        receivers = self._exact.setdefault(subject, {})
        self.subscriptions += receiver not in receivers
        receivers[receiver] = None

    def remove(self, subject: str, receiver: R) -> None:
        """End a subscription, if there is one."""
        receivers = self._exact.get(subject)
        if receivers is not None:
            self.subscriptions -= receiver in receivers
            receivers.pop(receiver, None)
            if not receivers:
                del self._exact[subject]

    def check_work(self, patterns: Iterable[Pattern]) -> None:
        """Raise PatternError if all patterns would take too much time with these."""
        work = self._work
        for pattern in {pattern.text: pattern for pattern in patterns}.values():
            if pattern.work > _CHEAP and pattern.text not in self._patterns:
                work += pattern.work
                if work > MAX_WORK_TOGETHER:
                    raise PatternError(
                        pattern.text, "would take too much time, with those that others have; simpler ones are taken"
                    )

    def add_pattern(self, pattern: Pattern, receiver: R) -> None:
        """Subscribe to a pattern; nothing if that is so already."""
        there = self._patterns.get(pattern.text)
        if there is None:
            there = self._patterns[pattern.text] = _Subscribed(pattern)
            self._by_prefix.setdefault(pattern.prefix, {})[there] = None
            self._lengths[len(pattern.prefix)] += 1
            if pattern.work > _CHEAP:
                self._work += pattern.work
            if len(self._came) >= MAX_NEW:
                self._forget()
            self._came.append(there)
        self.subscriptions += receiver not in there.receivers
        there.receivers[receiver] = None

    def remove_pattern(self, text: str, receiver: R) -> None:
        """End a subscription to a pattern, if there is one."""
        there = self._patterns.get(text)
        if there is None:
            return
        self.subscriptions -= receiver in there.receivers
        there.receivers.pop(receiver, None)
        if there.receivers:
            return
        del self._patterns[text]
        if there.pattern.work > _CHEAP:
            self._work -= there.pattern.work
        prefix = there.pattern.prefix
        self._lengths -= Counter((len(prefix),))
        alike = self._by_prefix[prefix]
        del alike[there]
        if not alike:
            del self._by_prefix[prefix]
        # Those who remember it find nobody there; that it is gone is noticed with the next change of what matches.

    def _forget(self) -> None:
        self._remembered.clear()
        self._came.clear()

    def find(self, subject: str) -> list[R]:
        """Who gets an event: first those with exactly this subject, then those with a pattern; some may be twice."""
        exact = self._exact.get(subject)
        found = [] if exact is None else [*exact]
        if self._patterns:
            for subscribed in self._matching(subject):
                found += subscribed.receivers
        return found

    def count(self, subjects: Iterable[str], receiver: R) -> int:
        """How many events of these subjects a receiver gets."""
        times = Counter(subjects)
        return sum(number * self.find(subject).count(receiver) for subject, number in times.items())

    def _matching(self, subject: str) -> list[_Subscribed[R]]:
        """The patterns that a subject matches."""
        came = self._came
        known = self._remembered.get(subject)
        if known is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            known = self._remembered[subject] = _Remembered(self._look(subject), len(came))
        elif known.looked_at < len(came):
            # Those that are gone are left out; of the new ones, what came and went is, too.
            matching = [one for one in known.matching if one.receivers]
            for one in came[known.looked_at :]:
                if one.receivers and subject.startswith(one.pattern.prefix) and one.pattern.matches(subject):
                    matching.append(one)
            known.matching, known.looked_at = matching, len(came)
        return known.matching

    def _look(self, subject: str) -> list[_Subscribed[R]]:
        """Compare a subject with all patterns whose fixed beginning it has."""
        matching = []
        for length in sorted(self._lengths):
            if length > len(subject):
                break
            for one in self._by_prefix.get(subject[:length], ()):
                if one.pattern.matches(subject):
                    matching.append(one)
        return matching
