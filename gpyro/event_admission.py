"""What the event server takes: how many subscribers and subscriptions, and what somebody who attaches may ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from gpyro.event_receiver import Receiver, patterns_of
from gpyro.events import SubscriptionError
from gpyro.topics import Limits, Pattern, SubjectError, TopicIndex, fold, limits_of, subjects_of

MAX_SUBSCRIPTIONS: Final = 10_000
"""Subjects and patterns that one subscriber may have."""

MAX_SUBSCRIBERS: Final = 100_000
MAX_TOGETHER: Final = 1_000_000
"""Subscribers of one server, and subjects and patterns that they may have all together."""


class Wishes(NamedTuple):
    """What somebody who attaches asks for: subjects (as compared, and as given), patterns, and a queue."""

    subjects: dict[str, str]
    patterns: list[Pattern]
    limits: Limits


def wishes_of(usual: Limits, subjects: object, patterns: object, queue: object) -> Wishes:
    """What the arguments ask for; others have their turn meanwhile.

    Raises:
        SubjectError, PatternError, ValueError: they ask for nothing that there is.
    """
    folded = {fold(name): name for name in subjects_of(subjects, most=MAX_SUBSCRIPTIONS)}
    looked_at = patterns_of(subjects_of(patterns, "pattern", MAX_SUBSCRIPTIONS))
    if not queue:
        return Wishes(folded, looked_at, usual)
    if not (isinstance(queue, list | tuple) and len(queue) == 3):
        raise ValueError("what a queue is to be has three parts: policy, events, size")
    return Wishes(folded, looked_at, limits_of(usual, *queue))


def check_room(
    receivers: Mapping[Any, Receiver],
    index: TopicIndex[Receiver],
    key: Any,
    subjects: dict[str, str],
    patterns: Collection[Pattern],
    there: Receiver | None,
) -> None:
    """See whether a subscriber may have these, with those that it has if it is `there`.

    Raises:
        SubscriptionError, SubjectError, PatternError: that would be too much.
    """
    if key not in receivers and len(receivers) >= MAX_SUBSCRIBERS:
        raise SubscriptionError(f"the event server has {MAX_SUBSCRIBERS:,} subscribers, and takes no more")
    wished, texts = set(subjects), {pattern.text for pattern in patterns}
    if there is not None:
        wished.update(there.subjects)
        texts.update(there.patterns)
    if len(wished) + len(texts) > MAX_SUBSCRIPTIONS:
        raise SubjectError(f"a subscriber can have {MAX_SUBSCRIPTIONS:,} subjects and patterns; use a pattern")
    if index.subscriptions + len(subjects) + len(patterns) > MAX_TOGETHER:
        raise SubscriptionError(f"the event server has {MAX_TOGETHER:,} subscriptions, and takes no more")
    index.check_work(patterns)
