"""The file of a `SqliteStore`: opened, read whole, written to. Blocks, and knows nothing of greenlets.

One thread makes it and uses it. A file has one process at a time that may write: a second file beside it, with
``.lock`` at its end, is locked for that. A child of a fork does not inherit the lock, and the system lets go of it
when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from gevent import monkey

from gpyro.errors import StoreError
from gpyro.store_contract import Entry, Lease

APPLICATION: Final = 0x67707972
"""What marks a file as one of these: the bytes ``gpyr``."""

VERSION: Final = 1
"""Of the tables in the file."""

BUSY: Final = 5.0
"""Seconds to wait for another program, such as one that makes a backup."""

_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE entries (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, changed INTEGER NOT NULL,
    lease INTEGER NOT NULL
);
CREATE TABLE leases (id INTEGER PRIMARY KEY, seconds REAL NOT NULL);
CREATE TABLE state (identity TEXT NOT NULL, revision INTEGER NOT NULL);
INSERT INTO state VALUES ('%s', 0);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
COMMIT;
"""

_CHUNK: Final = 64
"""Rows in one statement at most: the interpreter's lock is given up for each statement, and a busy loop is slow to
return it. Of each size there is one statement, which SQLite has prepared."""

T = TypeVar("T")

# Files that this process has open. Locks are the process's, so a second one here would get it, too.
_opened: set[str] = set()
_guard = monkey.get_original("_thread", "allocate_lock")()


def _forget_opened() -> None:
    """In the child of a fork, which has none of them."""
    global _guard
    _guard = monkey.get_original("_thread", "allocate_lock")()
    _opened.clear()


os.register_at_fork(after_in_child=_forget_opened)


class Content(NamedTuple):
    """All that is in a file."""

    identity: str
    revision: int
    entries: list[Entry]
    leases: list[Lease]


class SqliteFile:
    """A file that is open, and locked.

    Attributes:
        content: what was in it when it was opened.
    """

    def __init__(self, path: str) -> None:
        """Open or make it.

        Raises:
            StoreError: that is not possible, and why; nothing is left open.
        """
        self.path = os.path.realpath(path)
        self._connection: sqlite3.Connection | None = None
        self._lock = _lock(self.path)
        try:
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY, isolation_level=None, cached_statements=4 * _CHUNK + 16
            )
            self.content = _prepare(self._connection, self.path)
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"cannot open {self.path}: {explain(error)}") from error
        except BaseException:
            self.close()
            raise

    def write(
        self, revision: int, entries: dict[str, Entry | None], granted: Sequence[Lease], ended: Sequence[Lease]
    ) -> None:
        """Save all of this at once; it is on the disk when this returns.

        Args:
            revision: of the last change; 0 if there was none.
            entries: by key; None for those that were deleted.
            granted: leases that began.
            ended: leases that ended.

        Raises:
            StoreError: it was not saved, unless `may_have_happened`.
        """
        connection = self._connection
        assert connection is not None
        committing = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            _put(connection, "leases", 2, granted)
            _delete(connection, "leases", "id", [lease.id for lease in ended])
            _put(connection, "entries", 5, [entry for entry in entries.values() if entry is not None])
            _delete(connection, "entries", "key", [key for key, entry in entries.items() if entry is None])
            connection.execute("UPDATE state SET revision = max(revision, ?)", (revision,))
            committing = True
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            unknown = committing and _primary(error) == sqlite3.SQLITE_IOERR
            raise StoreError(f"cannot write to {self.path}: {explain(error)}", unknown) from error

    def close(self) -> None:
        """Close it, and let go of the lock."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close()
        finally:
            lock, self._lock = self._lock, -1
            if lock >= 0:
                os.close(lock)
                with _guard:
                    _opened.discard(self.path)


def _lock(path: str) -> int:
    """Have this file for this process alone: the descriptor of the lock."""
    with _guard:
        if path in _opened:
            raise StoreError(f"cannot open {path}: another store of this process has it open")
        _opened.add(path)
    try:
        return _locked(path)
    except BaseException:
        with _guard:
            _opened.discard(path)
        raise


def _locked(path: str) -> int:
    if os.path.isdir(path):
        raise StoreError(f"cannot open {path}: it is a directory")
    lock = -1
    try:
        lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        text = f"{path}.lock: {error.strerror}"
        if lock >= 0:
            if isinstance(error, BlockingIOError | PermissionError):
                number = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
                text = f"process {number or 'unknown'} has it open"
            os.close(lock)
        raise StoreError(f"cannot open {path}: {text}") from error
    return lock


def _prepare(connection: sqlite3.Connection, path: str) -> Content:
    """See that it is one of our files, or make it one, and read it."""

    def ask(question: str) -> int:
        value: int = connection.execute(question).fetchone()[0]
        return value

    application, version = ask("PRAGMA application_id"), ask("PRAGMA user_version")
    is_new = not application and not version and not ask("SELECT count(*) FROM sqlite_master")
    if not is_new and application != APPLICATION:
        raise StoreError(f"cannot open {path}: it is a database of another program")
    if not is_new and version > VERSION:
        raise StoreError(
            f"cannot open {path}: it was written by a newer version of gpyro (its tables have version {version}, "
            f"this gpyro knows {VERSION})"
        )
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"cannot open {path}: its file system does not support a write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")
    if is_new:
        connection.executescript(_SCHEMA % secrets.token_hex(8))
    else:
        # Raises if it may only be read, which opening it would not tell.
        connection.executescript("BEGIN IMMEDIATE; UPDATE state SET revision = revision; ROLLBACK")
    complaint = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if complaint != "ok":
        raise StoreError(f"cannot open {path}: it is damaged: {' '.join(complaint.split())}")
    return _read(connection, path)


def _read(connection: sqlite3.Connection, path: str) -> Content:
    states = connection.execute("SELECT identity, revision FROM state").fetchall()
    if len(states) != 1:
        raise StoreError(f"cannot open {path}: it is damaged: there are {len(states)} rows in the table of its state")
    identity, revision = states[0]
    connection.row_factory = lambda cursor, row: Entry._make(row)
    entries = connection.execute("SELECT key, value, created, changed, lease FROM entries ORDER BY key").fetchall()
    connection.row_factory = lambda cursor, row: Lease._make(row)
    leases = connection.execute("SELECT id, seconds FROM leases").fetchall()
    connection.row_factory = None
    return Content(identity, revision, entries, leases)


def _put(connection: sqlite3.Connection, table: str, columns: int, rows: Sequence[tuple[Any, ...]]) -> None:
    row = f"({', '.join('?' * columns)})"
    for part in _chunks(rows):
        values = ", ".join([row] * len(part))
        connection.execute(f"REPLACE INTO {table} VALUES {values}", [value for entry in part for value in entry])


def _delete(connection: sqlite3.Connection, table: str, column: str, keys: Sequence[object]) -> None:
    for part in _chunks(keys):
        connection.execute(f"DELETE FROM {table} WHERE {column} IN ({', '.join('?' * len(part))})", part)


def _chunks(rows: Sequence[T]) -> Iterable[Sequence[T]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


_MEANINGS: Final = {
    sqlite3.SQLITE_NOTADB: "it is not a database of SQLite",
    sqlite3.SQLITE_CORRUPT: "it is damaged; a backup has to take its place",
    sqlite3.SQLITE_ERROR: "it is damaged; a backup has to take its place",
    sqlite3.SQLITE_FULL: "there is no room left for it",
    sqlite3.SQLITE_READONLY: "it may only be read",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or made",
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_IOERR: "input or output failed",
    sqlite3.SQLITE_PERM: "there is no permission",
}


def explain(error: sqlite3.Error) -> str:
    """What an error of SQLite's means, for people."""
    meaning = _MEANINGS.get(_primary(error))
    return f"{meaning} ({error})" if meaning else str(error)
