from __future__ import annotations

import random
import threading
from pathlib import Path

import gevent
import pytest

from gpyro.errors import StoreError
from gpyro.stores import SqliteStore
from gpyro.testing.clock import FakeClock
from gpyro.testing.stores import StoreContract
from tests.programs import program
from tests.support import eventually, run_python


class TestSqliteStore(StoreContract):
    lasting = True

    def make_store(self, clock: FakeClock, directory: Path) -> SqliteStore:
        return SqliteStore(directory / "names.db", clock=clock, history=self.history)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "names.db"


# ---- what is acknowledged


KILLED = """
    import os, sys
    import gevent
    from gpyro.stores import SqliteStore

    def work(number):
        count = 0
        while True:
            key = f"{sys.argv[2]}.{number}.{count}"
            if store.create(key, key.encode()).done:
                os.write(1, f"{key}\\n".encode())
            if count % 3 == 2 and store.delete(f"{sys.argv[2]}.{number}.{count - 1}"):
                os.write(1, f"-{sys.argv[2]}.{number}.{count - 1}\\n".encode())
            count += 1

    with SqliteStore(sys.argv[1]) as store:
        gevent.joinall([gevent.spawn(work, number) for number in range(8)], raise_error=True)
"""


@pytest.mark.parametrize("patched", [False, True])
def test_nothing_acknowledged_is_lost_when_its_process_is_killed(path: Path, patched: bool) -> None:
    chance = random.Random(patched)
    kept: set[str] = set()
    gone: set[str] = set()
    for number in range(3):
        with program(KILLED, str(path), str(number), patched=patched) as running:
            told = [running.line() for _ in range(chance.randrange(20, 300))]
            running.process.kill()
            rest = running.end()[1].split("\n")
        told += rest[:-1]  # what was written before it was killed
        kept |= {line for line in told if line[0] != "-"}
        gone |= {line[1:] for line in told if line[0] == "-"}
        with SqliteStore(path) as store:
            entries = {entry.key: entry for entry in store.scan("")}
            assert kept - gone - set(entries) == unacknowledged_deletions(kept - gone - set(entries))
            assert not gone & set(entries)
            assert all(entry.value == key.encode() for key, entry in entries.items())
            assert store.list("").revision >= len(kept) + len(gone)


def unacknowledged_deletions(missing: set[str]) -> set[str]:
    """Of keys that are missing those that may just have been deleted, without there being time to say so."""
    return {key for key in missing if int(key.rpartition(".")[2]) % 3 == 1}


def test_what_waits_is_saved_together(path: Path) -> None:
    with SqliteStore(path) as store:
        store.create("first", b"")
        changes, saves = store.changes, store.saves

        def work(number: int) -> None:
            for count in range(10):
                assert store.create(f"{number}.{count}", b"").done

        gevent.joinall([gevent.spawn(work, number) for number in range(64)], 30, raise_error=True)
        assert store.changes - changes == 640
        assert (store.changes - changes) / (store.saves - saves) >= 8
    with SqliteStore(path) as store:
        assert len(list(store.scan(""))) == 641


def test_reading_does_not_wait_for_the_disk(path: Path) -> None:
    with SqliteStore(path) as store:
        store.create("a", b"1")
        go_on = threading.Event()
        blocking = gevent.spawn(store._thread.run, go_on.wait, 10)  # type: ignore[union-attr]
        writing = gevent.spawn(store.create, "b", b"2")
        gevent.sleep(0.01)
        assert store.get("a") is not None
        assert [entry.key for entry in store.list("").entries] == ["a"]
        assert not writing.ready()
        go_on.set()
        gevent.joinall([blocking, writing], 10, raise_error=True)
        assert store.get("b") is not None


# ---- what goes wrong


def in_thread(store: SqliteStore, statement: str) -> object:
    """Have SQLite do something, where it is done."""
    assert store._thread is not None
    assert store._file is not None
    assert store._file._connection is not None
    return store._thread.run(lambda: store._file._connection.execute(statement).fetchone()[0])  # type: ignore[union-attr]


def test_a_full_disk_is_told_and_nothing_else_happens(path: Path) -> None:
    with SqliteStore(path) as store:
        store.create("kept", b"")
        pages = in_thread(store, "PRAGMA page_count")
        in_thread(store, f"PRAGMA max_page_count = {pages}")
        writers = [gevent.spawn(store.create, f"large{number}", bytes(100_000)) for number in range(5)]
        gevent.joinall(writers, 10)
        for writer in writers:
            assert isinstance(writer.exception, StoreError)
            assert "there is no room left for it" in str(writer.exception)
            assert not writer.exception.may_have_happened
        assert [entry.key for entry in store.scan("")] == ["kept"]
        in_thread(store, "PRAGMA max_page_count = 100000")
        assert store.create("large0", bytes(100_000)) == (True, 2, (), 0)
    with SqliteStore(path) as store:
        assert [entry.key for entry in store.scan("")] == ["kept", "large0"]


def test_what_waits_behind_something_that_fails_fails_with_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fail(*arguments: object) -> None:
        begun.set()
        go_on.wait(10)
        raise StoreError("no")

    with SqliteStore(path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(store._file, "write", fail)
            first = gevent.spawn(store.create, "a", b"")
            eventually(begun.is_set)
            second, third = gevent.spawn(store.create, "b", b""), gevent.spawn(store.create, "b", b"")
            gevent.sleep(0.01)
            go_on.set()
            gevent.joinall([first, second, third], 10)
        for greenlet in (first, second, third):
            assert isinstance(greenlet.exception, StoreError)
        assert store.create("b", b"") == (True, 1, (), 0)


def test_a_disk_that_fails_while_it_is_synced(path: Path) -> None:
    """What the system says of a file that is not to grow any more."""
    code = """
        import resource, signal, sys
        from gpyro.errors import StoreError
        from gpyro.stores import SqliteStore
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with SqliteStore(sys.argv[1]) as store:
            store.create("kept", b"")
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            for number in range(2):
                try:
                    store.create("large", bytes(100_000))
                except StoreError as error:
                    print(error.may_have_happened, str(error).replace(sys.argv[1], "PATH"))
            print([entry.key for entry in store.scan("")])
    """
    status, out, err = run_python(code, str(path))
    assert status == 0
    assert err == f"what was to be kept is not: cannot write to {path}: input or output failed (disk I/O error)\n"
    assert out.splitlines() == [
        "True cannot write to PATH: input or output failed (disk I/O error)",
        "False the store can only be read: cannot write to PATH: input or output failed (disk I/O error); "
        "whether the last changes were made shows when it is opened again",
        "['kept']",
    ]
    with SqliteStore(path) as store:
        assert store.get("kept") is not None


def test_two_stores_on_one_file(path: Path) -> None:
    with SqliteStore(path) as store:
        second = SqliteStore(path)
        for _ in range(2):
            with pytest.raises(StoreError, match="another store of this process has it open"):
                second.open()
        store.create("a", b"")
    with second:
        assert second.get("a") is not None


def test_who_is_stopped_while_opening_leaves_nothing_open(path: Path) -> None:
    store = SqliteStore(path)
    opening = gevent.spawn(store.open)
    gevent.sleep(0)
    opening.kill()

    def opened() -> bool:
        try:
            store.open()
        except StoreError:
            return False
        return True

    eventually(opened)
    store.create("a", b"")
    store.close()


def test_a_child_of_a_fork_leaves_the_file_alone(path: Path) -> None:
    code = """
        import os, sys
        from gpyro.errors import StoreError
        from gpyro.stores import SqliteStore
        store = SqliteStore(sys.argv[1])
        store.open()
        store.create("a", b"")
        pid = os.fork()
        if pid == 0:
            try:
                store.create("b", b"")
            except StoreError as error:
                print(error, flush=True)
            store.close()
            sys.exit()
        os.waitpid(pid, 0)
        print(store.create("c", b"").done, flush=True)
        os.kill(os.getpid(), 9)
    """
    status, out, _ = run_python(code, str(path))
    assert (status, out.splitlines()) == (
        -9, ["the store was opened before this process was forked; it belongs to the parent", "True"],
    )  # fmt: skip
    with SqliteStore(path) as store:
        assert [entry.key for entry in store.scan("")] == ["a", "c"]


def test_a_store_in_a_program_whose_loop_is_not_gevents(path: Path) -> None:
    code = """
        import select, sys, threading, time
        from gpyro import core
        from gpyro.stores import SqliteStore

        class Names(core.ObjBase):
            def put(self, key):
                return store.create(key, b"").done
            def put_for_a_while(self, key):
                return store.create(key, b"", store.grant(0.6).id).done
            def has(self, key):
                return store.get(key) is not None

        def client(uri):
            proxy = core.getProxyForURI(uri)
            print(all(proxy.put(str(number)) for number in range(20)), proxy.put("0"))
            print(proxy.put_for_a_while("short"))
            until = time.monotonic() + 20
            while proxy.has("short") and time.monotonic() < until:
                time.sleep(0.05)
            print(proxy.has("short"), proxy.has("0"), flush=True)

        with SqliteStore(sys.argv[1]) as store:
            daemon = core.Daemon(host="127.0.0.1", port=0, norange=1)
            names = Names()
            thread = threading.Thread(target=client, args=(str(daemon.connect(names)),))
            thread.start()
            while thread.is_alive():
                if select.select(daemon.getServerSockets(), [], [], 0.1)[0]:
                    daemon.handleRequests(0)
            daemon.closedown()
    """
    status, out, err = run_python(code, str(path))
    assert (status, out.splitlines(), err) == (0, ["True False", "True", "False True"], "")
