"""When leases end: counted in time during which their owners could renew them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from gpyro.store_contract import Lease

TICK: Final = 0.25
"""Seconds between two looks at the leases."""

LATE: Final = 2 * TICK
"""Seconds that count at most from one look to the next: for the rest the store did not listen to its owners."""

PAUSE: Final = 1.0
"""Seconds from one look to the next after which the store is taken to have stood still."""


class LeaseTable:
    """The leases that are running.

    Attributes:
        pauses: how often it was noticed that the store stood still.
    """

    def __init__(self, clock: Callable[[], float], leases: Iterable[Lease] = ()) -> None:
        """Start with leases, each of which has its full time. `clock` tells seconds that only go forward."""
        self._clock = clock
        self._looked = clock()
        self._counted = 0.0
        self._leases: dict[int, Lease] = {}
        self._ends: dict[int, float] = {}
        self.pauses = 0
        for lease in leases:
            self.start(lease)

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def get(self, lease: int) -> Lease | None:
        """The lease with this id, None if it is no more."""
        return self._leases.get(lease)

    def start(self, lease: Lease) -> None:
        """Have a lease last its full time from now on."""
        if not self._leases:
            self._looked = self._clock()  # nobody looked while there was none
        self._leases[lease.id] = lease
        self._ends[lease.id] = self._counted + min(max(0.0, self._clock() - self._looked), LATE) + lease.seconds

    def end(self, lease: int) -> Lease | None:
        """Take a lease out, and give it; None if it is no more."""
        self._ends.pop(lease, None)
        return self._leases.pop(lease, None)

    def ended(self) -> list[Lease]:
        """Look at the leases: those whose time is over. To be called every `TICK` seconds."""
        now = self._clock()
        passed, self._looked = max(0.0, now - self._looked), now
        self._counted += min(passed, LATE)
        if passed > PAUSE:
            self.pauses += 1
            for lease in self._leases.values():
                self._ends[lease.id] = self._counted + lease.seconds
        return [self._leases[number] for number, end in self._ends.items() if end <= self._counted]
