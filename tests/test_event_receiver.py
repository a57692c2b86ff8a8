from __future__ import annotations

import time

import pytest

from gpyro import core
from gpyro.event_receiver import Receiver, key_of, not_seen
from gpyro.event_routes import Parcel
from gpyro.topics import Limits, Loss, Policy
from gpyro.values import serializer_by_name


class Service:
    def __init__(self):
        self.due = []
        self.dropped = []

    def deliver_soon(self, receiver):
        self.due.append(receiver)

    def drop(self, receiver, why):
        self.dropped.append((receiver, why))


def parcel(number):
    return Parcel(serializer_by_name("msgpack"), "a", number, 1.0, number)


def test_what_arrived_is_counted_and_more_is_asked_for():
    service = Service()
    receiver = Receiver(service, "key", "name", Limits(Policy.NEWEST, 2, 0))
    for number in range(1, 5):
        receiver.backlog.put(parcel(number))
    row = receiver.row()
    assert (row["waiting"], row["lost"], row["delivered"], row["sent"], row["address"]) == (2, 2, 0, 0, None)
    assert row["bytes"] == 2 * parcel(1).size
    assert abs(row["since"] - time.time()) < 10
    receiver.in_flight = receiver.backlog.take(1, 1000)
    assert receiver.row()["sent"] == 1
    receiver.arrived(receiver.in_flight)
    assert receiver.delivered == 1
    assert service.due == [receiver]
    items = receiver.backlog.take(9, 1000)
    assert isinstance(items[1], Loss)
    assert (items[0].number, items[1].until) == (2, 4)
    receiver.arrived(items)
    assert receiver.delivered == 2
    assert service.due == [receiver]
    receiver.unreachable("why")
    assert service.dropped == [(receiver, "why")]


def test_proxies_of_one_object_are_one_subscriber():
    first, second = (core.getProxyForURI("PYRO://localhost:7766/id") for _ in range(2))
    assert key_of(first) == key_of(second)
    assert key_of(core.getProxyForURI("PYRO://localhost:7766/other")) != key_of(first)
    assert key_of("token") == "token"
    assert key_of(core.getProxyForURI("PYRO://token:1/token")) != "token"
    with pytest.raises(TypeError, match="not int"):
        key_of(17)


def test_what_was_seen_of_what_was_under_way_is_told_by_its_place():
    parcels = [Parcel(serializer_by_name("msgpack"), "a", None, 0.0, number) for number in (4, 5, 5, 8, 7, 9)]
    parcels[3] = Loss(8, "full")  # 7 waited for room meanwhile
    assert not_seen(parcels, 3) == parcels
    assert not_seen(parcels, 5) == parcels[3:]  # both copies
    assert not_seen(parcels, 8) == parcels[4:]
    assert not_seen(parcels, 7) == parcels[5:]
    assert not_seen(parcels, 9) == []
