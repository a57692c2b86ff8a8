from __future__ import annotations

from gpyro.topics import ledger
from gpyro.topics.ledger import HISTORY, Ledger, Topic


def test_events_are_numbered_and_counted():
    kept = Ledger()
    for now, name in enumerate(["A", "b", "a"]):
        kept.add(name.lower(), name, float(now))
    assert kept.number == 3
    assert kept.topics == {"a": Topic(2, 2.0, "A"), "b": Topic(1, 1.0, "b")}


def test_what_was_published_since():
    kept = Ledger()
    for number in range(1, HISTORY + 3):
        kept.add(str(number), str(number), 0.0)
    last = kept.number
    assert list(kept.since(last) or "x") == []
    assert list(kept.since(last - 2) or ()) == [str(last - 1), str(last)]
    assert len(list(kept.since(2) or ())) == HISTORY
    assert kept.since(1) is None
    assert kept.since(last + 1) is None


def test_only_the_most_recent_topics_are_counted(monkeypatch):
    monkeypatch.setattr(ledger, "MAX_TOPICS", 3)
    kept = Ledger()
    for now, subject in enumerate("abcade"):
        kept.add(subject, subject, float(now))
    assert set(kept.topics) == {"a", "d", "e"}
