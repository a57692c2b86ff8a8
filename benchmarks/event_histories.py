"""Whether what consumers of events tell fits what publishers tell: nothing twice, in order, nothing lost in silence.

Pure functions over what both have written down. A publisher writes down each attempt before it makes it, and the answer
behind it; a consumer each event that it gets and each gap that it is told of, in the order in which that happens.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Literal, NamedTuple

Verdict = Literal["done", "never", "maybe", "open"]
"""What a publisher was told: it is published; it was never sent; it may be; or nothing, since it was killed."""


class Stream(NamedTuple):
    """What keeps its order: the events of one life of a publisher on a subject."""

    publisher: str
    life: int
    subject: str


class Attempt(NamedTuple):
    """An event that a publisher tried to publish; times by the machine's monotonic clock."""

    sequence: int
    began: float
    ended: float
    verdict: Verdict


class Got(NamedTuple):
    """An event that a consumer got; `number` is the event server's."""

    stream: Stream
    sequence: int
    number: int


class Missed(NamedTuple):
    """A gap that a consumer was told of; None if nobody knows how many events."""

    count: int | None


Attempts = Mapping[Stream, list[Attempt]]
"""Of each stream, in the order of their sequence numbers."""


@dataclass
class Life:
    """What one life of a consumer has to tell.

    Attributes:
        consumer: its name, which it has through all its lives.
        subjects: what it subscribed to; None for all there are.
        serial: it gets events of all subjects strictly one after the other.
        subscribed: when its subscription stood.
        told: what it got and missed, in order.
        whole: it got all that was to come; else it was killed.
    """

    consumer: str
    subjects: frozenset[str] | None
    serial: bool
    subscribed: float
    told: list[Got | Missed] = field(default_factory=list)
    whole: bool = False

    def wants(self, stream: Stream) -> bool:
        """Whether it subscribed to that."""
        return self.subjects is None or stream.subject in self.subjects


class Fault(NamedTuple):
    """Something that must not be: of which kind, and in words."""

    kind: Literal["lost", "twice", "disorder", "untrue", "count"]
    text: str


def faults(attempts: Attempts, lives: Iterable[Life]) -> Iterator[Fault]:
    """What does not fit: in the histories of all publishers, and of all lives of all consumers."""
    verdicts = {(stream, one.sequence): one.verdict for stream, those in attempts.items() for one in those}
    got_before: dict[str, set[tuple[Stream, int]]] = {}
    for life in lives:
        yield from _twice_or_untrue(life, verdicts, got_before.setdefault(life.consumer, set()))
        places = _places(life)
        yield from _disorder(life, places)
        missing = list(_missing(attempts, life, places))
        yield from _lost(missing, life)
        yield from _counts_by_numbers(life)
        yield from _counts_by_streams(missing, life)


def _twice_or_untrue(
    life: Life, verdicts: Mapping[tuple[Stream, int], Verdict], before: set[tuple[Stream, int]]
) -> Iterator[Fault]:
    for one in life.told:
        if isinstance(one, Missed):
            continue
        key = one.stream, one.sequence
        if key in before:
            yield Fault("twice", f"{life.consumer}: {key} came twice")
        before.add(key)
        verdict = verdicts.get(key)
        if verdict is None:
            yield Fault("untrue", f"{life.consumer}: {key} came, and nobody published it")
        elif verdict == "never":
            yield Fault("untrue", f"{life.consumer}: {key} came, and its publisher was told that it was never sent")


Places = dict[Stream, tuple[list[int], list[int]]]
"""Of each stream the sequence numbers that came, and where they stand in what is told."""


def _places(life: Life) -> Places:
    found: Places = {}
    for place, one in enumerate(life.told):
        if isinstance(one, Got):
            sequences, places = found.setdefault(one.stream, ([], []))
            sequences.append(one.sequence)
            places.append(place)
    return found


def _disorder(life: Life, places: Places) -> Iterator[Fault]:
    for stream, (sequences, _) in places.items():
        for before, after in pairwise(sequences):
            if after < before:
                yield Fault("disorder", f"{life.consumer}: {stream}: {after} came behind {before}")


class Missing(NamedTuple):
    """An event that somebody tried to publish, and that did not come where it was wanted.

    Attributes:
        after: the place of the event of its stream behind which it would have stood; -1 if there is none.
        before: the place of the one before which it would have stood; the end if there is none.
        acknowledged: it was published after the subscription stood.
    """

    stream: Stream
    sequence: int
    after: int
    before: int
    acknowledged: bool


def _missing(attempts: Attempts, life: Life, places: Places) -> Iterator[Missing]:
    for stream, those in attempts.items():
        if not life.wants(stream):
            continue
        sequences, where = places.get(stream, ([], []))
        came = set(sequences)
        for one in those:
            if one.sequence in came or one.verdict == "never" or one.ended < life.subscribed:
                continue
            at = bisect_left(sequences, one.sequence)
            after = where[at - 1] if at else -1
            # Side by side, what comes behind a gap does not wait until that is told.
            before = where[at] if life.serial and at < len(where) else len(life.told)
            acknowledged = one.verdict == "done" and one.began >= life.subscribed
            yield Missing(stream, one.sequence, after, before, acknowledged)


def _lost(missing: Iterable[Missing], life: Life) -> Iterator[Fault]:
    """Acknowledged events that neither came nor stand in a gap."""
    gaps = [place for place, one in enumerate(life.told) if isinstance(one, Missed)]
    for stream, sequence, after, before, acknowledged in missing:
        if not acknowledged:
            continue
        if before == len(life.told) and not life.whole:
            continue  # it was killed before it could tell
        if bisect_right(gaps, after) == bisect_left(gaps, before):
            yield Fault("lost", f"{life.consumer}: {stream}: {sequence} is missing, and no gap is told of there")


def _counts_by_numbers(life: Life) -> Iterator[Fault]:
    """Gaps that do not fit the event server's numbers of the events around them."""
    if not life.serial:
        return
    last: Got | None = None
    missed: int | None = 0
    for one in life.told:
        if isinstance(one, Missed):
            missed = None if missed is None or one.count is None else missed + one.count
            continue
        if last is not None and missed is not None:
            between = one.number - last.number - 1
            if between < missed or (life.subjects is None and between > missed):
                text = f"{life.consumer}: {between} events between the numbers {last.number} and {one.number}"
                yield Fault("count", f"{text}, and gaps of {missed}")
        last, missed = one, 0


def _counts_by_streams(missing: Iterable[Missing], life: Life) -> Iterator[Fault]:
    """Gaps whose count is too small for what must have been lost there, or too large for what can have been."""
    blocks = list(_blocks(life))
    ends = [end for _, end, _ in blocks]
    least, most = [0] * len(blocks), [0] * len(blocks)
    for _, _, after, before, acknowledged in missing:
        first = beyond = bisect_right(ends, after)
        while beyond < len(blocks) and blocks[beyond][0] < before:
            most[beyond] += 1
            beyond += 1
        if beyond == first + 1 and acknowledged and before < len(life.told):
            least[first] += 1
    for (start, _, count), low, high in zip(blocks, least, most, strict=True):
        if count is not None and not low <= count <= high:
            text = f"{life.consumer}: gaps of {count} at place {start}, where {low} to {high} events"
            yield Fault("count", f"{text} are missing")


def _blocks(life: Life) -> Iterator[tuple[int, int, int | None]]:
    """Gaps with no event between them: the first place, the last, and how many events together."""
    start = -1
    count: int | None = 0
    for place, one in enumerate([*life.told, None]):
        if isinstance(one, Missed):
            if start < 0:
                start, count = place, 0
            count = None if count is None or one.count is None else count + one.count
        elif start >= 0:
            yield start, place - 1, count
            start = -1


# What is in the files


def attempts_of(publisher: str, text: str) -> dict[Stream, list[Attempt]]:
    """What a publisher wrote down: when it begins ``began LIFE SUBJECT SEQUENCE TIME``, then the same with the verdict.

    A line that was cut off is none.
    """
    begun: dict[tuple[Stream, int], tuple[float, float, Verdict]] = {}
    for line in text.split("\n")[:-1]:
        what, life, subject, sequence, time = line.split()
        key = Stream(publisher, int(life), subject), int(sequence)
        if what == "began":
            begun[key] = float(time), inf, "open"
        else:
            begun[key] = begun[key][0], float(time), what  # type: ignore[assignment]
    found: dict[Stream, list[Attempt]] = {}
    for (stream, number), (began, ended, verdict) in begun.items():
        found.setdefault(stream, []).append(Attempt(number, began, ended, verdict))
    for those in found.values():
        those.sort()
    return found


def life_of(consumer: str, subjects: frozenset[str] | None, serial: bool, text: str, whole: bool) -> Life | None:
    """What a life of a consumer wrote down; None if it was killed before its subscription stood."""
    life: Life | None = None
    early: list[Got | Missed] = []  # what came while the answer to its subscription was on its way
    for line in text.split("\n")[:-1]:
        what, *words = line.split()
        if what == "subscribed":
            life = Life(consumer, subjects, serial, float(words[0]), early, whole)
        elif what == "missed":
            early.append(Missed(None if words[0] == "None" else int(words[0])))
        else:
            publisher, number, subject, sequence, position = words
            early.append(Got(Stream(publisher, int(number), subject), int(sequence), int(position)))
    return life
