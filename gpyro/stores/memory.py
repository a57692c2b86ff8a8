"""A store that lasts as long as it is open."""

from __future__ import annotations

import secrets

from gpyro.store_contract import Lease

from .embedded import EmbeddedStore, Write
from .table import Table


class MemoryStore(EmbeddedStore):
    """Keeps everything in memory: when it is closed, or its process ends, all is gone.

    A change is safe when it is made. Opened again it is another store, empty and with another `identity`.
    """

    def _begin(self) -> tuple[str, Table, list[Lease]]:
        return secrets.token_hex(8), Table(history=self._history), []

    def _save(self, write: Write) -> None:
        self._saved([write])

    def _end(self) -> None:
        pass
