"""A store in a file of SQLite's, which nothing that was acknowledged is lost from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from gpyro.errors import StoreError
from gpyro.net.hub import hub_state
from gpyro.store_contract import Entry, Lease

from .embedded import HISTORY, EmbeddedStore, Write
from .native_thread import NativeThread
from .sqlite_file import SqliteFile
from .table import Table


class SqliteStore(EmbeddedStore):
    """Keeps everything in memory and in a file.

    A change is safe when it is on the disk: neither the end of the process nor that of the machine takes it away. What
    is to be saved waits until the file's thread is ready for more, and is then saved together, with one sync. Nothing
    that reads waits for the disk.

    A file is open in one process at a time. Revisions and leases go on when it is opened again; watches have to list
    again, unless nothing was changed since their revision.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], float] = monotonic, history: int = HISTORY
    ) -> None:
        """Set it up; `open` is to follow, and makes the file if need be.

        Args:
            path: the file, in a directory that exists. Beside it SQLite has files that end in ``-wal`` and ``-shm``,
                and gpyro one that ends in ``.lock``.
            clock: see `EmbeddedStore`.
            history: see `EmbeddedStore`.
        """
        super().__init__(clock=clock, history=history)
        self.path = os.fspath(path)
        self._thread: NativeThread | None = None
        self._file: SqliteFile | None = None
        self._waiting: list[Write] = []
        self._saving: list[Write] = []
        self._scheduled = False

    def _begin(self) -> tuple[str, Table, list[Lease]]:
        self._thread = thread = NativeThread()
        opened: list[SqliteFile] = []
        try:
            table = thread.run(_open, opened, self.path, self._history)
        except BaseException:
            thread.submit(_close, opened, then=_ignore)  # who waited may have been stopped, and the file be open
            thread.stop()
            self._thread = None
            raise
        self._file = opened[0]
        content = self._file.content
        del self._file.content
        return content.identity, table, content.leases

    def _save(self, write: Write) -> None:
        self._waiting.append(write)
        if not self._scheduled and not self._saving:
            # At the end of this turn of the loop: what other greenlets have in it comes along.
            self._scheduled = True
            hub_state().run_in_hub(self._hand_over)

    def _hand_over(self) -> None:
        """Have the thread save all that waits. In the hub."""
        self._scheduled = False
        if self._saving or not self._waiting:
            return
        self._saving, self._waiting = self._waiting, []
        assert self._thread is not None
        self._thread.submit(_write, self._file, self._saving, then=self._on_written)

    def _on_written(self, result: Any, error: BaseException | None) -> None:
        """In the hub."""
        writes, self._saving = self._saving, []
        if error is None:
            self._saved(writes)
            self._hand_over()
            return
        writes, self._waiting = writes + self._waiting, []
        text = str(error) if isinstance(error, StoreError) else f"cannot write to {self.path}: {error!r}"
        self._not_saved(writes, text, error.may_have_happened if isinstance(error, StoreError) else True)

    def _end(self) -> None:
        assert self._thread is not None
        assert self._file is not None
        try:
            self._thread.run(self._file.close)
        finally:
            self._thread.stop()
            self._thread = self._file = None


# ---- in the file's thread


def _open(opened: list[SqliteFile], path: str, history: int) -> Table:
    file = SqliteFile(path)
    opened.append(file)
    return Table(file.content.revision, file.content.entries, history)


def _close(opened: list[SqliteFile]) -> None:
    for file in opened:
        file.close()


def _ignore(result: Any, error: BaseException | None) -> None:
    """For what nobody waits for."""


def _write(file: SqliteFile, writes: Sequence[Write]) -> None:
    revision = 0
    entries: dict[str, Entry | None] = {}
    granted: dict[int, Lease] = {}
    ended: list[Lease] = []
    for write in writes:
        if write.change is not None:
            revision = write.change.revision
            entries.update(write.change.events)
        if write.granted is not None:
            granted[write.granted.id] = write.granted
        if write.ended is not None:
            granted.pop(write.ended.id, None)
            ended.append(write.ended)
    file.write(revision, entries, [*granted.values()], ended)
