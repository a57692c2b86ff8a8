"""The row of `hostile.py` about peers that connect and say nothing, or next to nothing."""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import time
from typing import Any

from hostile_input import FUZZ, Plan, alive, progress
from peer import Target
from processes import BenchmarkError, cores
from report import Measure, at_most

SILENT, SLOW = 5_000, 1_000
CROWDS = 3
"""Processes that the connections come from; a process may have some 20,000 files."""

PACE = 3_000.0
"""Connections a second, of all crowds together."""

HANDSHAKE = 5.0
ALONE, STANDING = 3.0, 4.8
RATIO, EACH_KIB = 1.2, 16.0


class Program:
    """One of the programs beside the fuzzer; a context manager that ends it."""

    def __init__(self, name: str, *arguments: object) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, str(FUZZ / name), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ask(self, line: str) -> None:
        """Write a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self, patience: float = 90.0) -> Any:
        """The next line that it prints."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise BenchmarkError(f"{self._name} gave no answer")
        return json.loads(line)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait(10)
        self._process.stdout.close()


def p99(visits: list[tuple[float, float]]) -> float:
    """The time in milliseconds that 99 of 100 visits took at most."""
    times = sorted(took for _, took in visits)
    if not times:
        raise BenchmarkError("no newcomer came through")
    return 1000 * times[min(len(times) - 1, int(0.99 * len(times)))]


def between(visits: list[tuple[float, float]], start: float, end: float) -> list[tuple[float, float]]:
    """The visits that began in a span of time."""
    return [visit for visit in visits if start <= visit[0] < end]


def slow_row(plan: Plan) -> list[Measure]:
    """Connections that say nothing, or a byte a second, beside clients that connect and call."""
    rounds: list[dict[str, Any]] = []
    server_core, client_core = cores()
    if client_core is not None:
        os.sched_setaffinity(0, {client_core})  # and all that is started from here
    for number in range(plan.rounds):
        progress(f"slow: round {number + 1} of {plan.rounds}")
        # A server for each round: what it took for the last crowd would hide what it takes for the next.
        with Target() as target, alive(target, "slow"):
            if server_core is not None:
                os.sched_setaffinity(target.process.pid, {server_core})
            uri = f"PYRO://127.0.0.1:{target.port}/{target.guid}"
            with Program("newcomers.py", uri) as newcomers:
                rounds.append(_round(plan, target, newcomers, number))
    connections = rounds[0]["connections"]
    ratios = [one["standing"] / one["alone"] for one in rounds]
    moving = [one["whole"] / one["alone"] for one in rounds]
    alone, standing = (statistics.median(one[name] for one in rounds) for name in ("alone", "standing"))
    what = f"{plan.share(SLOW):,} connections of a byte a second, {plan.share(SILENT):,} silent ones"
    return [
        Measure("C1", what, connections, "connections", numbers={"rounds": rounds}),
        Measure("C1", "p99 of connect and call without them, with them", f"{alone:.2f}, {standing:.2f}", "ms"),
        at_most("C1", "p99 of a newcomer's connect and call, times that without them", statistics.median(ratios), "",
                RATIO, ratios=ratios),
        Measure("C1", "the same while they come, stay and are sent home", statistics.median(moving), "",
                numbers={"ratios": moving}),
        at_most("C1", "longest until one is closed", max(one["longest"] for one in rounds), "s", HANDSHAKE + 1),
        at_most("C1", "not closed", sum(one["left"] for one in rounds), "", 0),
        at_most("C1", "memory of the server for each", max(one["each_kib"] for one in rounds), "KiB", EACH_KIB),
    ]  # fmt: skip


def _round(plan: Plan, target: Target, newcomers: Program, number: int) -> dict[str, Any]:
    """Newcomers alone, then beside the crowds."""
    newcomers.ask(str(ALONE))
    alone = newcomers.answer()
    before = target.doctor.health()
    shares = [[count * (at + 1) // CROWDS - count * at // CROWDS for count in (plan.share(SILENT), plan.share(SLOW))]
              for at in range(CROWDS)]  # fmt: skip
    crowds: list[Program] = []
    try:
        newcomers.ask(str(HANDSHAKE + 4))
        start = time.monotonic()
        for at in range(CROWDS):
            # An address of their own: the system keeps closed connections for a minute.
            source = f"127.0.{1 + number}.{2 + at}"
            crowds.append(Program("crowd.py", target.port, source, *shares[at], PACE / CROWDS))
        opened = [crowd.answer() for crowd in crowds]
        standing = time.monotonic()
        during = target.doctor.health()
        closed = [crowd.answer() for crowd in crowds]
        visits = newcomers.answer()
    finally:
        for crowd in crowds:
            crowd.__exit__()
    connections = sum(one["open"] for one in opened)
    # The first of them are closed five seconds after they came.
    first = standing - max(one["seconds"] for one in opened)
    return {
        "alone": p99(alone),
        "standing": p99(between(visits, standing, first + STANDING)),
        "whole": p99(between(visits, start, start + 60)),
        "visits": [len(alone), len(between(visits, standing, first + STANDING)), len(visits)],
        "connections": connections,
        "longest": max(one["longest"] for one in closed),
        "shortest": min(one["shortest"] for one in closed),
        "left": sum(one["left"] for one in closed),
        "each_kib": (during["resident_kib"] - before["resident_kib"]) / max(1, connections),
    }
