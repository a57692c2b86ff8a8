"""The rows of `events.py`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from event_programs import ASKED, EVENT_SERVER, PUBLISHERS, REDIS_SUBSCRIBERS, SLOW, SUBSCRIBERS
from processes import PINNED, BenchmarkError, Program, cores
from report import Measure, at_least, at_most, spread
from rows import Plan

ROUNDS = 5
SUBSCRIBED = 100
PATIENCE = 60.0

PROCESSES = 5
"""Processes that a large crowd is spread over; a small one has fewer, for each takes a while to start."""

LIMITS = {"MAXCONNECTIONS": 20_000, "MAX_PER_ADDRESS": 20_000, "MAX_SESSIONS": 20_000}
"""Items of a server for ten thousand subscribers."""


@contextmanager
def event_server(**items: object) -> Iterator[tuple[Program, str, str]]:
    """An event server, its URI, and that of an object that takes one-way calls."""
    with Program(PINNED + EVENT_SERVER, cores()[0], **items) as program:
        uri, sink = program.ready()
        yield program, uri, sink


def subscribers(stack: ExitStack, uri: str, count: int, own: bool = False, **items: object) -> Program:
    """A process of subscribers, ready."""
    code = PINNED + SUBSCRIBERS + ASKED
    program = stack.enter_context(Program(code, cores()[1], uri, count, "own" if own else "shared", **items))
    program.ready()
    return program


def resident_kib(program: Program) -> int:
    """The memory of a process that is resident, in KiB."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def fan_row(plan: Plan) -> list[Measure]:
    """One publisher, a hundred subscribers."""
    count = plan.count(3000)
    ours: list[float] = []
    rates: dict[str, list[float]] = {"redis": [], "own": []}
    with ExitStack() as stack:
        _, uri, _ = stack.enter_context(event_server())
        shared, own = subscribers(stack, uri, SUBSCRIBED), None
        _, other_uri, _ = stack.enter_context(event_server())
        own = subscribers(stack, other_uri, SUBSCRIBED, own=True)
        redis = _redis(stack)
        for number in range(ROUNDS + 1):
            found = {"shared": shared.ask(f"fan {count}")[0], "own": own.ask(f"fan {count}")[0]}
            if redis is not None:
                found["redis"] = redis.ask(f"fan {count}")[0]
            if number:  # the first round warms up
                ours.append(found.pop("shared"))
                for name, rate in found.items():
                    rates[name].append(rate)
    what = f"1 publisher, {SUBSCRIBED} subscribers"
    rows = [
        Measure("", f"{what}: deliveries", median(ours), "1/s"),
        Measure("", f"{what} with a connection each: deliveries", median(rates["own"]), "1/s"),
    ]
    if not rates["redis"]:
        return [*rows, Measure("", "Redis (redis-server; pip install gpyro[bench])", "left out")]
    times = [mine / theirs for mine, theirs in zip(ours, rates["redis"], strict=True)]
    each = [mine / theirs for mine, theirs in zip(rates["own"], rates["redis"], strict=True)]
    theirs = f"{median(rates['redis']):,.0f} a second"
    return [
        *rows,
        at_least("", f"deliveries, times Redis's {theirs}, {spread(times)}", median(times), "", 1.5),
        Measure("", f"the same with a connection each, {spread(each)}", median(each)),
    ]


def _redis(stack: ExitStack) -> Program | None:
    """Subscribers of a Redis server; None where there is no such thing."""
    command = shutil.which("redis-server")
    if command is None or find_spec("redis") is None:
        return None
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([command, *options], stdout=subprocess.DEVNULL)
    stack.callback(server.wait)
    stack.callback(server.kill)
    core = cores()[0]
    if core is not None:
        os.sched_setaffinity(server.pid, {core})
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            if time.monotonic() > until:
                raise BenchmarkError("the Redis server does not answer") from None
            time.sleep(0.05)
    program = stack.enter_context(Program(PINNED + REDIS_SUBSCRIBERS + ASKED, cores()[1], port, SUBSCRIBED))
    program.ready()
    return program


def publish_row(plan: Plan) -> list[Measure]:
    """Many publishers, one subscriber."""
    count = plan.count(50_000)
    soon, waited, rates = [], [], []
    with ExitStack() as stack:
        _, uri, sink = stack.enter_context(event_server())
        subscriber = subscribers(stack, uri, 1)
        publishers = stack.enter_context(Program(PINNED + PUBLISHERS + ASKED, cores()[1], uri, sink))
        publishers.ready()
        for number in range(ROUNDS + 1):
            found = {}
            for name in ("oneway", "soon", "twoway", "publish"):
                if name in ("soon", "publish"):
                    subscriber.ask(f"expect {count}")
                (found[name],) = publishers.ask(f"{name} {count}")
                if name in ("soon", "publish"):
                    subscriber.ask("arrived 0")  # all of them, or it ends with what is missing
            if number:
                rates.append(found["soon"])
                soon.append(found["soon"] / found["oneway"])
                waited.append(found["publish"] / found["twoway"])
    return [
        Measure("", "64 publishers, 1 subscriber: publish_soon", median(rates), "1/s"),
        at_least("", f"publish_soon: share of one-way calls, {spread(soon)}", median(soon), "", 0.8),
        Measure("", f"publish: share of calls that are answered, {spread(waited)}", median(waited)),
    ]


def crowd_row(plan: Plan) -> list[Measure]:
    """Ten thousand subscribers."""
    rows = []
    for own in (True, False):
        total = max(10, plan.count(10_000))
        processes = min(PROCESSES, max(2, total // 100))
        each = total // processes
        sizes, taken = [], []
        with ExitStack() as stack:
            server, uri, sink = stack.enter_context(event_server(**LIMITS))
            publishers = stack.enter_context(Program(PINNED + PUBLISHERS + ASKED, cores()[1], uri, sink))
            publishers.ready()
            crowd = []
            for _ in range(processes):
                crowd.append(subscribers(stack, uri, each, own, **LIMITS))
                if len(crowd) in (1, processes):
                    sizes.append(resident_kib(server))
            for _ in range(ROUNDS):
                for one in crowd:
                    one.ask("expect 1")
                began = time.monotonic()
                publishers.ask("one 1")
                taken.append(max(one.ask("arrived 0")[0] for one in crowd) - began)
            sizes.append(resident_kib(server))
        slope = (sizes[1] - sizes[0]) / (each * (processes - 1))
        after = (sizes[2] - sizes[0]) / (each * (processes - 1))
        what = f"{total:,} subscribers, {'a connection each' if own else f'{each:,} to a connection'}"
        rows += [
            at_most("", f"{what}: memory of the server for each", slope, "KiB", 6),
            at_most("", f"{what}: the same after {ROUNDS} events", after, "KiB", 6),
            at_most("", f"{what}: an event to all, median of {ROUNDS}", median(taken), "s", 1),
        ]
    return rows


def slow_row(plan: Plan) -> list[Measure]:
    """Fifty subscribers of which one stops reading; the others do not notice."""
    count = plan.count(2000)
    ratios, growth, told = [], [], []
    with event_server() as (server, uri, _), Program(PINNED + SLOW + ASKED, cores()[1], uri) as client:
        client.ready()
        client.ask(f"latency {count}")
        for _ in range(ROUNDS):
            (alone,) = client.ask(f"latency {count}")
            before = resident_kib(server)
            client.ask("stop 0")
            (beside,) = client.ask(f"latency {count}")
            growth.append(resident_kib(server) - before)
            lost, known = client.ask("go 0")
            told.append(lost - known)
            ratios.append(beside / alone)
    return [
        at_most(
            "B5", f"1 of 50 subscribers stops: the others' p99, times before, {spread(ratios)}", median(ratios), "", 1.2
        ),
        at_most("B5", "memory of the server that this takes, most", max(growth) / 1024, "MiB", 8),
        at_most("B5", "events it lost and was not told of", max(map(abs, told)), "", 0),
    ]
