from __future__ import annotations

from pathlib import Path

from gpyro.stores import MemoryStore
from gpyro.testing.clock import FakeClock
from gpyro.testing.stores import StoreContract


class TestMemoryStore(StoreContract):
    lasting = False

    def make_store(self, clock: FakeClock, directory: Path) -> MemoryStore:
        return MemoryStore(clock=clock, history=self.history)
