from __future__ import annotations

from gpyro.store_contract import Lease
from gpyro.stores.leases import LATE, PAUSE, TICK, LeaseTable
from gpyro.testing.clock import FakeClock


def run(table: LeaseTable, clock: FakeClock, seconds: float, step: float = TICK) -> list[int]:
    ended = []
    while seconds > 0:
        clock.advance(step)
        seconds -= step
        for lease in table.ended():
            ended.append(lease.id)
            table.end(lease.id)
    return ended


def test_a_lease_ends_after_its_time() -> None:
    clock = FakeClock()
    table = LeaseTable(clock, [Lease(1, 10.0)])
    table.start(Lease(2, 5.0))
    assert run(table, clock, 4.75) == []
    assert run(table, clock, 0.25) == [2]
    assert table.get(2) is None
    assert run(table, clock, 4.75) == []
    assert run(table, clock, 0.25) == [1]
    assert len(table) == 0


def test_a_renewed_lease_has_its_full_time() -> None:
    clock = FakeClock()
    table = LeaseTable(clock, [Lease(1, 10.0)])
    run(table, clock, 9)
    clock.advance(0.1)
    table.start(Lease(1, 10.0))
    assert list(table) == [Lease(1, 10.0)]
    assert run(table, clock, 9.75) == []
    assert run(table, clock, 0.5) == [1]


def test_after_a_pause_every_lease_has_its_full_time() -> None:
    clock = FakeClock()
    table = LeaseTable(clock, [Lease(1, 10.0), Lease(2, 4.0)])
    run(table, clock, 3.75)
    clock.advance(PAUSE + 0.1)
    assert table.ended() == []
    assert table.pauses == 1
    assert run(table, clock, 3.5) == []
    assert run(table, clock, 0.5) == [2]
    assert run(table, clock, 5.5) == []
    assert run(table, clock, 0.5) == [1]


def test_of_short_pauses_little_counts() -> None:
    """Renewals that came meanwhile have to be read before a lease may end."""
    clock = FakeClock()
    table = LeaseTable(clock, [Lease(1, 2.0)])
    assert run(table, clock, 2.6, step=0.9) == []
    assert table.pauses == 0
    assert run(table, clock, LATE, step=0.9) == [1]


def test_time_without_leases_does_not_count() -> None:
    clock = FakeClock()
    table = LeaseTable(clock)
    clock.advance(100)
    table.start(Lease(1, 1.0))
    assert run(table, clock, 0.75) == []
    assert table.pauses == 0
    assert run(table, clock, 0.25) == [1]


def test_a_clock_that_goes_back_ends_nothing() -> None:
    clock = FakeClock()
    table = LeaseTable(clock, [Lease(1, 1.0)])
    clock.advance(-50)
    table.start(Lease(2, 1.0))
    assert table.ended() == []
    assert sorted(run(table, clock, 1.0)) == [1, 2]


def test_what_is_no_lease() -> None:
    table = LeaseTable(FakeClock())
    assert table.get(1) is None
    assert table.end(1) is None
    assert table.ended() == []
