from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from gpyro.errors import StoreError
from gpyro.store_contract import Entry, Lease
from gpyro.stores import sqlite_file
from gpyro.stores.sqlite_file import APPLICATION, SqliteFile
from tests.support import run_python


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "names.db"


def entries(count: int, revision: int = 1) -> dict[str, Entry | None]:
    return {f"k{number:03}": Entry(f"k{number:03}", b"v", revision, revision) for number in range(count)}


def reopened(path: Path) -> sqlite_file.Content:
    file = SqliteFile(str(path))
    file.close()
    return file.content


def refused(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        SqliteFile(str(path))
    assert str(path) in str(caught.value)
    assert str(path) not in sqlite_file._opened
    assert not caught.value.may_have_happened
    return str(caught.value).replace(str(path), "PATH")


def test_what_was_written_is_read(path: Path) -> None:
    file = SqliteFile(str(path))
    identity = file.content.identity
    assert file.content == (identity, 0, [], [])
    file.write(3, {"b": Entry("b", b"\0\xff", 1, 3, 7), "a": Entry("a", b"", 2, 2)}, [Lease(7, 1.5)], [])
    file.write(0, {}, [Lease(8, 2.0)], [])
    file.write(4, {"a": None, "c": None, "d": Entry("d", b"4", 4, 4)}, [], [Lease(8, 2.0)])
    file.close()
    file.close()
    assert reopened(path) == (
        identity, 4, [Entry("b", b"\0\xff", 1, 3, 7), Entry("d", b"4", 4, 4)], [Lease(7, 1.5)],
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 200])
def test_any_number_at_once(path: Path, count: int) -> None:
    file = SqliteFile(str(path))
    file.write(1, entries(count), [], [])
    file.write(2, entries(count, 2), [], [])
    file.close()
    kept = entries(count, 2)
    assert reopened(path).entries == [*kept.values()]
    file = SqliteFile(str(path))
    file.write(3, dict.fromkeys(kept), [], [])
    file.close()
    assert reopened(path).entries == []


def test_entries_come_in_the_order_of_code_points(path: Path) -> None:
    keys = ["A", "a", "a.", "\x7f", "\xe4", "\uffee", "\U00010000"]
    file = SqliteFile(str(path))
    file.write(1, {key: Entry(key, b"", 1, 1) for key in reversed(keys)}, [], [])
    file.close()
    assert [entry.key for entry in reopened(path).entries] == keys


def test_the_disk_has_it_before_the_write_returns(path: Path) -> None:
    file = SqliteFile(str(path))
    connection = file._connection
    assert connection is not None
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: the log is synced with each commit
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    file.close()


def test_a_write_that_fails_changes_nothing(path: Path) -> None:
    file = SqliteFile(str(path))
    assert file._connection is not None
    file.write(1, entries(3), [], [])
    pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
    file._connection.execute(f"PRAGMA max_page_count = {pages}")
    large: dict[str, Entry | None] = {"large": Entry("large", bytes(100_000), 2, 2)}
    with pytest.raises(StoreError, match=r"cannot write to .*: there is no room left for it") as caught:
        file.write(2, {"k000": None, **large}, [Lease(1, 1.0)], [])
    assert not caught.value.may_have_happened
    file._connection.execute("PRAGMA max_page_count = 100000")
    file.write(2, large, [], [])
    file.close()
    content = reopened(path)
    assert [entry.key for entry in content.entries] == ["k000", "k001", "k002", "large"]
    assert (content.revision, content.leases) == (2, [])


def test_a_file_that_is_open_is_not_opened_again(path: Path, tmp_path: Path) -> None:
    file = SqliteFile(str(path))
    link = tmp_path / "link"
    link.symlink_to(path)
    for again in (path, link):
        with pytest.raises(StoreError, match="another store of this process has it open"):
            SqliteFile(str(again))
    code = """
        import sys
        from gpyro.stores.sqlite_file import SqliteFile
        try:
            SqliteFile(sys.argv[1])
        except Exception as error:
            print(type(error).__name__, error)
    """
    assert run_python(code, str(path)) == (
        0, f"StoreError cannot open {path}: process {os.getpid()} has it open\n", "",
    )  # fmt: skip
    file.close()
    reopened(path)
    assert run_python(code, str(path)) == (0, "", "")


def test_a_child_of_a_fork_does_not_keep_it_open(path: Path) -> None:
    """Nor does what the child does to its copy take the lock away."""
    code = """
        import os, signal, sys
        from gpyro.stores.sqlite_file import SqliteFile
        file = SqliteFile(sys.argv[1])
        (read, write), (done_read, done_write) = os.pipe(), os.pipe()
        if os.fork() == 0:
            os.close(write)
            try:
                SqliteFile(sys.argv[1])
            except Exception as error:
                print(str(error).replace(str(os.getppid()), "PARENT"), flush=True)
            file.close()
            os.write(done_write, b"x")
            os.read(read, 1)
            SqliteFile(sys.argv[1]).close()
            print("child has it", flush=True)
            os._exit(0)
        os.read(done_read, 1)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    status, out, _ = run_python(code, str(path))
    assert status == -9
    assert out.splitlines() == [f"cannot open {path}: process PARENT has it open", "child has it"]
    reopened(path)


def test_files_of_others_are_left_alone(path: Path) -> None:
    path.write_bytes(b"this is no database, but a text of some length\n" * 100)
    before = path.read_bytes()
    assert refused(path).startswith("cannot open PATH: it is not a database of SQLite")
    assert path.read_bytes() == before
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE entries (key TEXT)")
    other.close()
    before = path.read_bytes()
    assert refused(path) == "cannot open PATH: it is a database of another program"
    assert path.read_bytes() == before


def test_files_of_newer_versions_are_left_alone(path: Path) -> None:
    reopened(path)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 2")
    other.close()
    assert refused(path) == (
        "cannot open PATH: it was written by a newer version of gpyro (its tables have version 2, this gpyro knows 1)"
    )


@pytest.mark.parametrize("damage", ["cut", "zeroed", "scribbled", "no state", "no tables"])
def test_damaged_files_are_told(path: Path, damage: str) -> None:
    file = SqliteFile(str(path))
    file.write(1, entries(500), [], [])
    file.close()
    content = bytearray(path.read_bytes())
    assert len(content) > 5 * 4096
    if damage == "cut":
        content = content[: 3 * 4096]
    elif damage == "zeroed":
        content[4096:] = bytes(len(content) - 4096)
    elif damage == "scribbled":
        content[2 * 4096 :] = os.urandom(len(content) - 2 * 4096)
    path.write_bytes(content)
    if damage.startswith("no"):
        with sqlite3.connect(path) as other:
            for statement in {"no state": ["DELETE FROM state"], "no tables": ["DROP TABLE state"]}[damage]:
                other.execute(statement)
        other.close()
    text = refused(path)
    assert text.startswith("cannot open PATH: it is damaged")
    assert "\n" not in text


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.touch()
    assert reopened(path).revision == 0


def test_places_where_no_file_can_be(path: Path, tmp_path: Path) -> None:
    assert refused(tmp_path).endswith(": it is a directory")
    assert "No such file or directory" in refused(tmp_path / "missing" / "names.db")
    path.write_text("")
    assert "Not a directory" in refused(path / "names.db")


def test_what_may_not_be_written_is_told(path: Path) -> None:
    """In a process without the rights of the superuser, for whom everything may be written."""
    reopened(path)
    code = """
        import os, sys
        from gpyro.stores.sqlite_file import SqliteFile
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        for name in ("folder/new.db", "folder/old.db", "writable/read-only.db"):
            try:
                SqliteFile(os.path.join(sys.argv[1], name))
                print(name, "opened")
            except Exception as error:
                print(type(error).__name__, str(error).replace(sys.argv[1] + "/", ""))
    """
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories are not for other users
        place = Path(name).resolve()
        place.chmod(0o755)
        for folder, file in (("folder", "old.db"), ("writable", "read-only.db")):
            (place / folder).mkdir()
            (place / folder / file).write_bytes(path.read_bytes())
            (place / folder / file).chmod(0o444)
        (place / "writable").chmod(0o777)
        (place / "folder").chmod(0o555)
        status, out, err = run_python(code, str(place))
        (place / "folder").chmod(0o755)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "StoreError cannot open folder/new.db: folder/new.db.lock: Permission denied",
        "StoreError cannot open folder/old.db: folder/old.db.lock: Permission denied",
        "StoreError cannot open writable/read-only.db: it may only be read (attempt to write a readonly database)",
    ]


def test_another_program_that_keeps_it_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY", 0.05)
    file = SqliteFile(str(path))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another program keeps it locked") as caught:
        file.write(1, entries(1), [], [])
    assert not caught.value.may_have_happened
    other.execute("ROLLBACK")
    other.close()
    file.write(1, entries(1), [], [])
    file.close()
