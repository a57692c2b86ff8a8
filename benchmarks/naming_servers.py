"""The rows of `naming.py` about name servers as processes: how fast they answer, and what becomes of names."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import gevent
from naming_programs import (
    ASKED,
    CLIENT,
    NAME_SERVER,
    PYRO5_CLIENT,
    PYRO5_SERVER,
    REGISTERING,
    SERVERS,
)
from naming_stores import GROUP_SIZE, PATIENCE, fill
from processes import PINNED, BenchmarkError, Program, cores
from report import Measure, at_least, at_most, spread
from rows import Plan, place

from gpyro import config
from gpyro.errors import NamingError
from gpyro.naming import NameServerLocator, NameServerProxy
from gpyro.stores import SqliteStore

ROUNDS = 5


@contextmanager
def name_server(directory: str, port: int = 0, **items: object) -> Iterator[tuple[Program, str, str]]:
    """A name server with a file in a directory, and the URIs of itself and of an object that echoes."""
    items = {"NS_PORT": port, "STORAGE": directory, **items}
    with Program(PINNED + NAME_SERVER, cores()[0], os.path.join(directory, "names"), **items) as program:
        uri, echo = program.ready()
        yield program, uri, echo


def wire_row(plan: Plan) -> list[Measure]:
    """Names resolved and registered by 64 callers of one client, beside plain echo calls of it."""
    calls, registrations = plan.count(50_000), plan.count(10_000)
    shares: dict[str, list[float]] = {"resolve": [], "resolve_plain": [], "register": []}
    rates: dict[str, list[float]] = {"echoes": [], **{name: [] for name in shares}}
    together = []
    with (
        place(plan) as directory,
        name_server(directory) as (server, uri, echo),
        Program(PINNED + CLIENT + ASKED, cores()[1], uri, echo) as client,
    ):
        client.ready()
        client.ask("prepare 0")
        for number in range(ROUNDS + 1):
            (before,) = client.ask(f"echoes {calls}")
            found = {name: client.ask(f"{name} {calls}")[0] for name in ("resolve", "resolve_plain")}
            changes, saves = server.ask("")
            found["register"] = client.ask(f"register {registrations}")[0]
            changes, saves = (now - then for now, then in zip(server.ask(""), (changes, saves), strict=True))
            (after,) = client.ask(f"echoes {calls}")
            if number:  # the first round warms up
                rates["echoes"].append((before + after) / 2)
                together.append(changes / saves)
                for name, rate in found.items():
                    rates[name].append(rate)
                    shares[name].append(rate / rates["echoes"][-1])
    titles = {"resolve": "resolve", "resolve_plain": "resolve by a plain proxy", "register": "register, on the disk"}
    return [
        Measure("", "echo, 64 callers", median(rates["echoes"]), "1/s"),
        *(
            at_least("", f"{titles[name]}: share of echo, {spread(values)}", median(values), "", aim)
            if (aim := {"resolve": 0.6, "register": 0.25}.get(name))
            else Measure("", f"{titles[name]}: share of echo, {spread(values)}", median(values))
            for name, values in shares.items()
        ),
        Measure("", "register, on the disk", median(rates["register"]), "1/s"),
        at_least("", "registrations that share a sync", median(together), "", 8),
    ]


def pyro5_row(plan: Plan) -> list[Measure]:
    """Pyro 5's name server with its SQL storage, by eight threads, beside gpyro's by 64 greenlets."""
    if find_spec("Pyro5") is None:
        return [Measure("", "Pyro 5 is not installed (pip install gpyro[bench])", "left out")]
    counts = {"resolve": (plan.count(50_000), plan.count(2_000)), "register": (plan.count(10_000), plan.count(200))}
    times: dict[str, list[float]] = {name: [] for name in counts}
    theirs: dict[str, list[float]] = {name: [] for name in counts}
    with ExitStack() as stack:
        directory = stack.enter_context(place(plan))
        _, uri, echo = stack.enter_context(name_server(directory))
        ours = stack.enter_context(Program(PINNED + CLIENT + ASKED, cores()[1], uri, echo))
        server = stack.enter_context(Program(PINNED + PYRO5_SERVER, cores()[0], directory))
        other = stack.enter_context(Program(PINNED + PYRO5_CLIENT + ASKED, cores()[1], server.ready()[0]))
        for client in (ours, other):
            client.ready()
            client.ask("prepare 0")
        for number in range(ROUNDS + 1):
            for name, (own, their) in counts.items():
                (rate,), (slow,) = ours.ask(f"{name} {own}"), other.ask(f"{name} {their}")
                if number:
                    times[name].append(rate / slow)
                    theirs[name].append(slow)
    return [
        at_least(
            "",
            f"{name}, times Pyro 5's {median(theirs[name]):,.0f} a second, {spread(values, '.0f')}",
            median(values),
            "",
            10,
        )
        for name, values in times.items()
    ]


def crowd_row(plan: Plan) -> list[Measure]:
    """A name server process with many names."""
    groups = plan.count(1000)
    starting = []
    with place(plan) as directory:
        os.mkdir(os.path.join(directory, "names"))
        with SqliteStore(Path(directory, "names", "names.db")) as store:
            fill(store, groups)
        for _ in range(3):
            start = time.perf_counter()
            with name_server(directory):
                starting.append(time.perf_counter() - start)
        with (
            name_server(directory) as (_, uri, echo),
            Program(PINNED + CLIENT + ASKED, cores()[1], uri, echo) as client,
        ):
            client.ready()
            listing = client.ask(f"group {min(groups, 200)}")[0]
            flat = client.ask(f"flatlist {groups * GROUP_SIZE}")[0]
    total = f"{groups * GROUP_SIZE:,} names"
    return [
        at_most("", f"{total}: start of the process, till it serves", median(starting), "s", 2),
        at_most("", f"{total}: list of one group of {GROUP_SIZE}, by a client", listing, "ms", 5),
        Measure("", f"{total}: flatlist, by a client", flat, "s"),
    ]


def find_row(plan: Plan) -> list[Measure]:
    """How long `getNS()` takes, with a name server on this machine and without any."""
    before = config.snapshot()
    try:
        with place(plan) as directory:
            config.PYRO_STORAGE, config.PYRO_NS_BC_ADDR = directory, "127.255.255.255"
            with name_server(directory) as (_, uri, _echo):
                config.PYRO_NS_PORT = int(uri.rpartition("/")[0].rpartition(":")[2])
                found = [_seconds_to_find() for _ in range(5)]
            missed = [_seconds_to_find(there=False) for _ in range(plan.count(2))]
    finally:
        object.__setattr__(config, "_settings", before)
    return [
        at_most("", "getNS() with a name server on this machine, longest", 1000 * max(found), "ms", 50),
        at_most("", "getNS() without any, longest", max(missed), "s", 2),
    ]


def _seconds_to_find(there: bool = True) -> float:
    start = time.perf_counter()
    try:
        NameServerLocator().getNS()._release()
    except NamingError:
        if there:
            raise
    else:
        if not there:
            raise BenchmarkError("there is a name server that was not expected")
    return time.perf_counter() - start


def restart_row(plan: Plan) -> list[Measure]:
    """A name server that is killed in the middle of registrations, again and again, with the same file."""
    chance = random.Random(plan.seed)
    each, rounds = plan.count(10_000), max(2, plan.count(20))
    told: set[str] = set()
    missing, starting = 0, []
    with place(plan) as directory:
        for number in range(rounds):
            with name_server(directory) as (server, uri, _):
                registering = Program(REGISTERING, uri, number, each, BC_TIMEOUT=0.1, BC_RETRIES=0)
                with registering:
                    told |= _told_until_killed(server, registering, chance.randrange(1, each))
            start = time.perf_counter()
            with name_server(directory) as (_, uri, _):
                starting.append(time.perf_counter() - start)
                there = {name for name, _ in NameServerProxy(uri).flatlist()}
            missing += len(told - there)
    return [
        at_most("D1", f"{rounds} kills of a name server, {len(told):,} acknowledged: missing", missing, "", 0),
        at_most("D1", "start of the process after that, till it serves, longest", max(starting), "s", 2),
    ]


def _told_until_killed(server: Program, registering: Program, lines: int) -> set[str]:
    told = []
    assert registering.process.stdout is not None
    for line in registering.process.stdout:
        told.append(line.strip())
        if len(told) == lines:
            server.process.kill()
    return set(told)


def lease_row(plan: Plan) -> list[Measure]:
    """Servers that are killed, and a name server that stands still for twice the lease."""
    processes, each = max(3, plan.count(20)), plan.count(50)
    dead = max(1, plan.count(2))
    lease = float(config.PYRO_NS_LEASE) if plan.scale == 1 else 1.5
    with ExitStack() as stack:
        directory = stack.enter_context(place(plan))
        server, uri, _ = stack.enter_context(name_server(directory))
        servers = [
            stack.enter_context(Program(SERVERS, uri, number, each, NS_LEASE=lease)) for number in range(processes)
        ]
        for one in servers:
            one.ready()
        ns = NameServerProxy(uri)
        count = _count(ns)
        if count != processes * each:
            raise BenchmarkError(f"{count} names are there, not {processes * each}")
        for one in servers[:dead]:
            one.process.kill()
        start, living = time.monotonic(), (processes - dead) * each
        while _count(ns) > living and time.monotonic() < start + PATIENCE:
            gevent.sleep(0.02)
        gone = time.monotonic() - start
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(2 * lease)
        server.process.send_signal(signal.SIGCONT)
        least, until = living, time.monotonic() + 2 * lease
        while time.monotonic() < until:
            least = min(least, _count(ns))
            gevent.sleep(0.02)
    what = f"{dead * each} of {processes * each} servers killed"
    return [
        at_most("D2", f"{what}: their names are gone, of a lease of {lease:g} s", gone, "s", lease + 1),
        at_most("D2", "names of living servers lost when the name server stood still", living - least, "", 0),
    ]


def _count(ns: NameServerProxy) -> int:
    return sum(":Default.s" in name for name, _ in ns.flatlist())
