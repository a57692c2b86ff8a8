"""The rows of `naming.py` about stores: what their files cost, and that nothing is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import gevent
from processes import BenchmarkError
from report import Measure, at_least, at_most
from rows import Plan, place

from gpyro.namespace import NameSpace
from gpyro.store_contract import MAX_PARTS, Put
from gpyro.stores import MemoryStore, SqliteStore
from gpyro.testing.clock import FakeClock
from gpyro.testing.histories import follow_history

CALLERS = 64
GROUP_SIZE = 100
URI = "PYRO://host:7766/c0a8000100001f900000018bcfe56800"
PATIENCE = 60.0


def commit_row(plan: Plan) -> list[Measure]:
    """Registrations by many callers at once, each on the disk before it is answered."""
    each = max(1, plan.count(10_000) // CALLERS)
    with place(plan) as name, SqliteStore(Path(name, "names.db")) as store:
        space = NameSpace(store, time.time)
        space.prepare()
        changes, saves, start = store.changes, store.saves, time.perf_counter()

        def register(caller: int) -> None:
            for number in range(each):
                space.register(f"object{caller}.{number}".replace(".", "-"), URI)

        gevent.joinall([gevent.spawn(register, caller) for caller in range(CALLERS)], raise_error=True)
        seconds = time.perf_counter() - start
        per_save = (store.changes - changes) / (store.saves - saves)
    return [
        Measure("", f"registrations in a file, {CALLERS} callers in the process", CALLERS * each / seconds, "1/s"),
        at_least("", "registrations that share a sync", per_save, "", 8),
    ]


def many_row(plan: Plan) -> list[Measure]:
    """A file of many names in nested groups."""
    groups = plan.count(1000)
    with place(plan) as name:
        path = Path(name, "names.db")
        with SqliteStore(path) as store:
            fill(store, groups)
        opening = []
        for _ in range(3):
            start = time.perf_counter()
            with SqliteStore(path) as store:
                space = NameSpace(store, time.time)
                space.prepare()
                space.resolve(_group(0) + ".o0")
                opening.append(time.perf_counter() - start)
                listing = []
                for number in range(0, groups, max(1, groups // 50)):
                    start = time.perf_counter()
                    if len(space.list(_group(number))) != GROUP_SIZE:
                        raise BenchmarkError("a group is not as it was made")
                    listing.append((time.perf_counter() - start) * 1000)
        total = f"{groups * GROUP_SIZE:,} names"
    return [
        at_most("", f"{total}: opening the file, till a name is resolved", median(opening), "s", 2),
        at_most("", f"{total}: list of one group of {GROUP_SIZE}", median(listing), "ms", 5),
    ]


def _group(number: int) -> str:
    return f":many.t{number % 10}.g{number}"


def fill(store: SqliteStore, groups: int) -> None:
    """Make many names in nested groups."""
    space = NameSpace(store, time.time)
    space.prepare([":many", *(f":many.t{number}" for number in range(10))])
    steps: list[Put] = []
    for number in range(groups):
        group = _group(number)
        space.createGroup(group)
        entry = store.get(f"{group.rpartition('.')[0]}:g{number}")
        assert entry is not None
        record = b'O %b\n{"timestamp": 1700000000.0}\n' % URI.encode()
        steps += [Put(f"{group}:o{part}", record) for part in range(GROUP_SIZE)]
        if len(steps) > MAX_PARTS:
            store.commit([], steps[:MAX_PARTS])
            del steps[:MAX_PARTS]
    store.commit([], steps)


def watch_row(plan: Plan) -> list[Measure]:
    """Random histories, followed by views that are stopped, cut off and left behind."""
    faults = changes = lists = 0
    histories = plan.count(1000)
    for number in range(histories):
        clock = FakeClock()
        with MemoryStore(clock=clock, history=50) as store:

            def wait(seconds: float, clock: FakeClock = clock, store: MemoryStore = store) -> None:
                for _ in range(int(seconds * 4)):
                    clock.advance(0.25)
                    store.tick()

            found = follow_history(store, plan.seed * 1_000_000 + number, wait)
        faults, changes, lists = faults + len(found.faults), changes + found.changes, lists + found.lists
    what = f"{histories:,} histories of {changes:,} changes, listed again {lists:,} times: what views missed"
    return [at_most("D4", what, faults, "", 0)]


_KILLED = """
import os, sys
import gevent
from gpyro.stores import SqliteStore

def work(number):
    for count in range(int(sys.argv[3])):
        key = f"{sys.argv[2]}.{number}.{count}"
        if store.create(key, key.encode()).done:
            os.write(1, f"{key}\\n".encode())

with SqliteStore(sys.argv[1]) as store:
    gevent.joinall([gevent.spawn(work, number) for number in range(64)], raise_error=True)
"""


def kill_row(plan: Plan) -> list[Measure]:
    """A process that is killed while it saves, again and again, with the same file."""
    chance = random.Random(plan.seed)
    each = plan.count(10_000)
    told: set[str] = set()
    missing, slowest = 0, 0.0
    rounds = max(2, plan.count(20))
    with place(plan) as name:
        path = Path(name, "names.db")
        for number in range(rounds):
            command = [sys.executable, "-c", _KILLED, str(path), str(number), str(each // 64 + 1)]
            told |= _told_until_killed(command, chance.randrange(each))
            start = time.perf_counter()
            with SqliteStore(path) as store:
                slowest = max(slowest, time.perf_counter() - start)
                missing += sum(store.get(key) is None for key in told)
    return [
        at_most("D1", f"{rounds} kills, {len(told):,} acknowledged: missing afterwards", missing, "", 0),
        at_most("D1", "opening the file after a kill, longest", slowest, "s", 2),
    ]


def _told_until_killed(command: list[str], lines: int) -> set[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            read = b""
            until = time.monotonic() + PATIENCE
            while read.count(b"\n") < lines and time.monotonic() < until:
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    break
                read += part
        finally:
            process.kill()
        read += process.stdout.read()
    return set(read.decode().split("\n")[:-1])
