from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from gpyro.topics.backlog import FULL, MAX_COPIES, Backlog, Limits, Loss, Policy, limits_of


@dataclass(frozen=True)
class Item:
    number: int
    size: int = 10


def told(items):
    """Numbers of events, and pairs of count and last number of losses."""
    return [(item.count, item.until) if isinstance(item, Loss) else item.number for item in items]


def backlog(policy, events=3, size=0):
    return Backlog(Limits(Policy(policy), events, size))


def all_of(waiting):
    return told(waiting.take(1000, 10**9))


def test_what_waits_comes_out_in_order():
    waiting = backlog("block", 0)
    assert waiting.empty
    for number in range(5):
        assert waiting.put(Item(number))
    assert (waiting.count, waiting.size) == (5, 50)
    assert told(waiting.take(2, 1000)) == [0, 1]
    assert told(waiting.take(1000, 15)) == [2]
    assert told(waiting.take(1000, 5)) == [3]  # one in any case
    assert all_of(waiting) == [4]
    assert waiting.empty
    assert (waiting.count, waiting.size) == (0, 0)


def test_the_oldest_is_lost():
    waiting = backlog("oldest")
    for number in range(1, 8):
        assert waiting.put(Item(number))
    assert waiting.lost == 4
    assert all_of(waiting) == [(4, 4), 5, 6, 7]


def test_the_newest_is_lost():
    waiting = backlog("newest")
    for number in range(1, 8):
        assert waiting.put(Item(number))
    assert waiting.lost == 4
    taken = waiting.take(1000, 1000)
    assert told(taken) == [1, 2, 3, (4, 7)]
    assert taken[-1].why == FULL
    assert waiting.put(Item(8))
    assert all_of(waiting) == [8]


def test_losses_that_become_the_oldest_are_counted_together():
    waiting = backlog("newest", 2)
    for number in range(1, 5):
        waiting.put(Item(number))
    waiting.limits = Limits(Policy.OLDEST, 2, 0)
    for number in range(5, 8):
        waiting.put(Item(number))
    assert all_of(waiting) == [(5, 5), 6, 7]
    assert waiting.lost == 5


def test_bytes_count_too_but_one_event_always_waits():
    waiting = backlog("newest", 0, 25)
    for number in range(1, 5):
        waiting.put(Item(number))
    assert all_of(waiting) == [1, 2, (2, 4)]
    waiting.put(Item(5, 1000))
    waiting.put(Item(6))
    assert all_of(waiting) == [5, (1, 6)]


@pytest.mark.parametrize("policy", ["block", "disconnect"])
def test_what_the_caller_has_to_do_is_left_to_it(policy):
    waiting = backlog(policy, 1)
    assert waiting.put(Item(1))
    assert not waiting.put(Item(2))
    assert all_of(waiting) == [1]


def test_those_who_wait_for_room_get_it_in_order():
    waiting = backlog("block", 2)
    woken = []
    for number in (1, 2):
        assert waiting.put(Item(number))
    tickets = []
    for number in (3, 4, 5):
        assert not waiting.put(Item(number))
        tickets.append(waiting.wait(Item(number), lambda number=number: woken.append(number)))
    assert told(waiting.take(1, 1000)) == [1]
    assert woken == [3]
    assert not waiting.put(Item(6))
    assert all_of(waiting) == [2, 3]
    assert woken == [3, 4, 5]
    assert all(ticket.settled for ticket in tickets)
    assert all_of(waiting) == [4, 5]


def test_who_waited_in_vain_is_the_last_to_wait():
    waiting = backlog("block", 1)
    woken = []
    waiting.put(Item(1))
    waiting.put(Item(2))
    ticket = waiting.wait(Item(2), lambda: woken.append(2))
    waiting.give_up(ticket)
    waiting.give_up(ticket)
    assert waiting.put(Item(3))  # lost at once
    assert all_of(waiting) == [1, (2, 3)]
    assert waiting.lost == 2
    assert woken == []
    waiting.put(Item(4))
    assert not waiting.put(Item(5))  # something was taken, so there is hope again
    impatient = waiting.wait(Item(5), lambda: None)
    waiting.give_up(impatient, stalled=False)
    assert not waiting.put(Item(6))


def test_copies_of_one_event_stay_together():
    waiting = backlog("block", 0)
    item = Item(1)
    waiting.put(Item(0))
    waiting.put(item)
    waiting.put(item)
    waiting.put(Item(2))
    assert told(waiting.take(2, 1000)) == [0, 1, 1]


def test_what_did_not_arrive_comes_again():
    waiting = backlog("oldest", 3)
    for number in range(1, 6):
        waiting.put(Item(number))
    taken = waiting.take(2, 1000)
    assert told(taken) == [(2, 2), 3]
    waiting.put(Item(6))
    waiting.put_back(taken)
    waiting.put_back([])
    assert waiting.count == 4
    waiting.put(Item(7))
    assert told(waiting.take(1000, 1000)) == [(4, 4), 5, 6, 7]


def test_when_it_is_cleared_nobody_waits():
    waiting = backlog("block", 1)
    woken = []
    waiting.put(Item(1))
    waiting.put(Item(2))
    waiting.wait(Item(2), lambda: woken.append(2))
    waiting.clear()
    assert woken == [2]
    assert waiting.empty


@pytest.mark.parametrize("seed", range(20))
def test_each_event_is_told_or_counted_and_in_its_place(seed):
    random_ = random.Random(seed)
    waiting = backlog(random_.choice(["oldest", "newest"]), random_.randint(1, 5), random_.choice([0, 60]))
    number, arrived, counted = 0, 0, 0
    last = 0

    def take(most):
        nonlocal arrived, counted, last
        items = waiting.take(most, 1000)
        if random_.random() < 0.2:
            waiting.put_back(items)
            return
        for item in items:
            here = item.until if isinstance(item, Loss) else item.number
            assert here > last
            last = here
            if isinstance(item, Loss):
                counted += item.count
            else:
                arrived += 1

    for _ in range(500):
        if random_.random() < 0.7:
            number += 1
            assert waiting.put(Item(number, random_.choice([1, 20])))
        else:
            take(random_.randint(1, 4))
    for _ in range(100):
        take(1000)
    assert arrived + counted == number
    assert counted == waiting.lost


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("oldest", [(2, 1), 2, 3, 3]),
        ("newest", [1, 1, 2, (2, 3)]),
        ("block", [1, 1, 2]),
    ],
)
def test_copies_of_an_event_stay_together(policy, expected):
    waiting = backlog(policy)
    one, three = Item(1), Item(3)
    taken = [waiting.put(item) for item in (one, one, Item(2), three, three)]
    assert all(taken) == (policy != "block")
    assert all_of(waiting) == expected


def test_the_last_that_fits_brings_its_copies_along_as_long_as_they_are_not_many():
    waiting = backlog("newest")
    many = Item(3)
    for item in (Item(1), Item(2), *[many] * 20):
        waiting.put(item)
    assert all_of(waiting) == [1, 2, *[3] * (MAX_COPIES + 1), (19 - MAX_COPIES, 3)]
    waiting = backlog("newest", 0, 30)
    for item in (Item(1), Item(2), *[many] * 20):
        waiting.put(item)
    assert all_of(waiting) == [1, 2, *[3] * 4, (16, 3)]


def test_copies_that_wait_for_room_get_it_together():
    waiting = backlog("block", 1)
    one, two = Item(1), Item(2)
    assert waiting.put(one)
    assert waiting.put(one)
    tickets = []
    for _ in range(2):
        assert not waiting.put(two)
        tickets.append(waiting.wait(two, lambda: None))
    assert told(waiting.take(1, 1)) == [1, 1]
    assert all(ticket.settled for ticket in tickets)
    assert all_of(waiting) == [2, 2]


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (("", None, None), ("block", 10, 100)),
        (("oldest", 5, 7), ("oldest", 5, 7)),
        (("newest", 160, 1601), ("newest", 160, 1600)),
        (("disconnect", 0, 0), ("disconnect", 160, 1600)),
    ],
)
def test_who_asks_for_much_gets_some_of_it(asked, granted):
    policy, events, size = granted
    assert limits_of(Limits(Policy.BLOCK, 10, 100), *asked) == Limits(Policy(policy), events, size)
    assert limits_of(Limits(Policy.BLOCK, 0, 0), "", 7, 0) == Limits(Policy.BLOCK, 7, 0)


def test_what_is_lost_has_its_place_behind_those_who_wait_for_room():
    waiting = backlog("block", 1)
    waiting.put(Item(1))
    tickets = []
    for number in (2, 3, 4, 5):
        assert not waiting.put(Item(number))
        tickets.append(waiting.wait(Item(number), lambda: None))
    for place in (1, 2):
        waiting.give_up(tickets[place])
    assert waiting.put(Item(6))  # lost, for nobody waits any more
    assert waiting.put(Item(7))
    assert waiting.lost == 4
    assert all_of(waiting) == [1]
    assert all_of(waiting) == [2, (2, 4)]
    assert all_of(waiting) == [5, (2, 7)]
    assert waiting.empty


def test_those_who_wait_for_room_get_it_when_the_oldest_is_to_be_lost():
    waiting = backlog("block", 2)
    for number in (1, 2):
        waiting.put(Item(number))
    tickets = []
    for number in (3, 4):
        waiting.put(Item(number))
        tickets.append(waiting.wait(Item(number), lambda: None))
    waiting.limits = Limits(Policy.OLDEST, 2, 0)
    assert waiting.put(Item(5))
    assert all(ticket.settled for ticket in tickets)
    assert all_of(waiting) == [(3, 3), 4, 5]


@pytest.mark.parametrize("seed", range(200))
def test_what_comes_out_is_in_order_and_complete(seed):
    chance = random.Random(seed)
    waiting, tickets, out = backlog("block", chance.randrange(1, 4)), [], []
    for number in range(1, 60):
        if not chance.randrange(8):
            waiting.limits = Limits(chance.choice([Policy.BLOCK, Policy.OLDEST, Policy.NEWEST]), 3, 0)
        if not waiting.put(Item(number)):
            tickets.append(waiting.wait(Item(number), lambda: None))
        if tickets and not chance.randrange(3):
            waiting.give_up(chance.choice(tickets), stalled=chance.random() < 0.5)
        if not chance.randrange(4):
            out += waiting.take(chance.randrange(1, 5), 1000)
            waiting.put_back([out.pop() for _ in range(chance.randrange(2)) if out])
    while not waiting.empty:
        out += waiting.take(1000, 10**9)
    ends = [item.until if isinstance(item, Loss) else item.number for item in out]
    assert ends == sorted(ends)
    assert sum(item.count if isinstance(item, Loss) else 1 for item in out) == 59
    at = 0
    for item, end in zip(out, ends, strict=True):  # each loss is as large as the place that it fills
        assert end - at == (item.count if isinstance(item, Loss) else 1)
        at = end
