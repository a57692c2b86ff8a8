from __future__ import annotations

import random

import pytest

from gpyro.topics import index
from gpyro.topics.index import TopicIndex
from gpyro.topics.patterns import Pattern, PatternError


def test_exact_ones_come_first_then_patterns():
    topics: TopicIndex[str] = TopicIndex()
    topics.add_pattern(Pattern("a.*"), "pattern")
    topics.add("abc", "both")
    topics.add("abc", "both")
    topics.add_pattern(Pattern("ab"), "both")
    topics.add("other", "nobody")
    assert topics.find("abc") == ["both", "pattern", "both"]
    assert topics.find("x") == []
    assert len(topics) == 4
    assert topics.count(["abc", "x", "abc"], "both") == 4


def test_subscriptions_end():
    topics: TopicIndex[int] = TopicIndex()
    pattern = Pattern("ab+c")
    for receiver in (1, 2):
        topics.add("abc", receiver)
        topics.add_pattern(pattern, receiver)
    assert topics.find("abc") == [1, 2, 1, 2]
    topics.remove("abc", 1)
    topics.remove_pattern("ab+c", 1)
    topics.remove("unknown", 1)
    topics.remove_pattern("unknown", 1)
    assert topics.find("abc") == [2, 2]
    topics.remove("abc", 2)
    topics.remove_pattern("ab+c", 2)
    assert topics.find("abc") == []
    assert len(topics) == 0
    topics.add_pattern(Pattern("ab+c"), 3)
    assert topics.find("abc") == [3]


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_what_comparing_everything_finds(seed, monkeypatch):
    monkeypatch.setattr(index, "MAX_REMEMBERED", 6)
    monkeypatch.setattr(index, "MAX_NEW", 5)
    random_ = random.Random(seed)
    topics: TopicIndex[int] = TopicIndex()
    subjects = [a + b for a in ("ab", "abc", "b", "") for b in ("", ".x", ".xy", "c")]
    patterns = [Pattern(text) for text in ("ab", "a.*y$", ".*x", "b", "^abc\\.", "", "[ab]+c", "abc?")]
    exact: dict[str, dict[int, None]] = {}
    by_pattern: dict[str, dict[int, None]] = {}
    for _ in range(600):
        receiver, what = random_.randrange(4), random_.random()
        subject, pattern = random_.choice(subjects), random_.choice(patterns)
        if what < 0.15:
            topics.add(subject, receiver)
            exact.setdefault(subject, {})[receiver] = None
        elif what < 0.3:
            topics.add_pattern(pattern, receiver)
            by_pattern.setdefault(pattern.text, {})[receiver] = None
        elif what < 0.45:
            topics.remove(subject, receiver)
            exact.get(subject, {}).pop(receiver, None)
        elif what < 0.6:
            topics.remove_pattern(pattern.text, receiver)
            by_pattern.get(pattern.text, {}).pop(receiver, None)
        else:
            expected = [*exact.get(subject, {})]
            for one in patterns:
                if one.matches(subject):
                    expected += by_pattern.get(one.text, {})
            assert sorted(topics.find(subject)) == sorted(expected)


def test_patterns_that_do_not_match_are_not_looked_at():
    looked_at = []

    class Counting(Pattern):
        __slots__ = ()

        def matches(self, subject):
            looked_at.append(self.text)
            return super().matches(subject)

    topics: TopicIndex[int] = TopicIndex()
    for number in range(500):
        topics.add_pattern(Counting(f"stock{number:03}\\..*"), number)
    topics.add_pattern(Counting(".*7$"), 1000)
    assert topics.find("stock017.7") == [1000, 17]
    assert looked_at == [".*7$", "stock017\\..*"]
    assert topics.find("stock017.7") == [1000, 17]
    assert len(looked_at) == 2  # remembered
    topics.add_pattern(Counting("stock0.*"), 2000)
    topics.add_pattern(Counting("stock1.*"), 3000)
    assert topics.find("stock017.7") == [1000, 17, 2000]
    assert looked_at[2:] == ["stock0.*"]


def test_subscriptions_are_counted():
    topics: TopicIndex[int] = TopicIndex()
    for receiver in (1, 1, 2):
        topics.add("a", receiver)
        topics.add_pattern(Pattern("b.*"), receiver)
    assert topics.subscriptions == 4
    for receiver in (1, 1, 3):
        topics.remove("a", receiver)
        topics.remove_pattern("b.*", receiver)
    assert topics.subscriptions == 2


def test_dear_patterns_are_taken_only_so_far(monkeypatch):
    dear = [Pattern(f".*{letter}.*{letter}" + letter) for letter in "abc"]
    monkeypatch.setattr(index, "MAX_WORK_TOGETHER", 2 * dear[0].work)
    topics: TopicIndex[int] = TopicIndex()
    topics.check_work(dear[:2])
    with pytest.raises(PatternError, match="with those that others have"):
        topics.check_work(dear)
    for pattern in dear[:2]:
        topics.add_pattern(pattern, 1)
        topics.add_pattern(pattern, 2)
    topics.check_work([*dear[:2], Pattern("cheap.*")])
    with pytest.raises(PatternError):
        topics.check_work(dear[2:])
    topics.remove_pattern(dear[0].text, 1)
    with pytest.raises(PatternError):
        topics.check_work(dear[2:])
    topics.remove_pattern(dear[0].text, 2)
    topics.check_work(dear[2:])
