from __future__ import annotations

import gevent

from gpyro import event_overview
from gpyro.event_overview import subscriber_rows, topic_rows
from gpyro.event_receiver import Receiver
from gpyro.topics import Ledger, Limits, Pattern, Policy, TopicIndex


def test_topics_that_were_published_on_or_subscribed_to():
    ledger, index = Ledger(), TopicIndex()
    receiver = Receiver(None, "key", "name", Limits(Policy.BLOCK, 0, 0))
    receiver.add(index, {"a": "A", "b": "B"}, [Pattern("b.*")])
    ledger.add("bc", "Bc", 12.5)
    ledger.add("a", "a", 13.5)
    assert topic_rows(ledger, index, [receiver]) == [
        {"subject": "a", "published": 1, "last": 13.5, "subscribers": 1},
        {"subject": "B", "published": 0, "last": None, "subscribers": 1},
        {"subject": "Bc", "published": 1, "last": 12.5, "subscribers": 1},
    ]
    (row,) = subscriber_rows([receiver])
    assert (row["name"], row["subjects"], row["patterns"]) == ("name", ["A", "B"], ["b.*"])


def test_others_have_their_turn_while_much_is_listed(monkeypatch):
    monkeypatch.setattr(event_overview, "TURN", 0.0)
    ledger, index = Ledger(), TopicIndex()
    for number in range(20):
        ledger.add(f"s{number}", f"s{number}", 0.0)
    listing = gevent.spawn(topic_rows, ledger, index, [])
    seen = gevent.spawn(lambda: listing.ready())
    assert seen.get() is False
    assert len(listing.get()) == 20
