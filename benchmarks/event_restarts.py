"""The row of `events.py` in which an event server is restarted under load: how long it takes until all have events."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from statistics import median

from event_kill_programs import CROWD_OF_PUBLISHERS, CROWD_OF_SUBSCRIBERS, EVENT_SERVER
from event_kills import name_server
from event_programs import ASKED
from event_rows import resident_kib
from processes import PINNED, BenchmarkError, Program, cores
from report import Measure, at_least, at_most
from rows import Plan, place

PUBLISHERS = 64
SUBSCRIBERS = 20
PROCESSES = 5
"""Of subscribers, each with so many."""


def restart_row(plan: Plan) -> list[Measure]:
    """An event server that is ended, and killed, in turns while many publish and many listen."""
    rounds = max(2, plan.count(20))
    ended: list[float] = []
    back: dict[str, list[float]] = {"SIGTERM": [], "SIGKILL": []}
    sizes: list[list[int]] = []
    with place(plan) as directory, name_server(directory) as items, ExitStack() as stack:
        server = stack.enter_context(Program(PINNED + EVENT_SERVER, cores()[0], **items))
        server.ready()
        publishing, each, processes = (max(2, plan.count(full)) for full in (PUBLISHERS, SUBSCRIBERS, PROCESSES))
        crowd = [_clients(stack, CROWD_OF_SUBSCRIBERS, each, items) for _ in range(processes)]
        publishers = _clients(stack, CROWD_OF_PUBLISHERS, publishing, items)
        for number in range(rounds):
            name = "SIGKILL" if number % 2 else "SIGTERM"
            _wait_for_events(crowd, publishers)
            began = time.monotonic()
            server.process.send_signal(getattr(signal, name))
            server.process.wait()
            if name == "SIGTERM":
                ended.append(time.monotonic() - began)
            server = stack.enter_context(Program(PINNED + EVENT_SERVER, cores()[0], **items))
            serving = float(server.ready()[0])
            back[name].append(_wait_for_events(crowd, publishers) - serving)
            sizes.append([resident_kib(one) for one in (*crowd, publishers)])
        told = min(one.ask("gaps 0")[0] for one in crowd)
    if told < rounds:
        raise BenchmarkError(f"a subscriber was told of {told} gaps, of {rounds} restarts")
    what = f"{publishing} publishers, {each * processes} subscribers, {rounds} restarts of the event server"
    return _measures(what, rounds, ended, back, sizes, told)


def _clients(stack: ExitStack, code: str, count: int, items: dict[str, object]) -> Program:
    program = stack.enter_context(Program(PINNED + code + ASKED, cores()[1], count, **items))
    program.ready()
    return program


def _wait_for_events(crowd: list[Program], publishers: Program) -> float:
    """Wait until each publisher has published, and each subscriber got something new; gives when the last one did."""
    for one in crowd:
        one.ask("mark 0")
    publishers.ask("published 0")
    return max(one.ask("after 0")[0] for one in crowd)


def _measures(
    what: str, rounds: int, ended: list[float], back: dict[str, list[float]], sizes: list[list[int]], told: float
) -> list[Measure]:
    half = len(sizes) // 2
    growth = max(
        (last - middle) / max(1, len(sizes) - 1 - half) for middle, last in zip(sizes[half], sizes[-1], strict=True)
    )
    return [
        *(
            at_most(
                "D5",
                f"{what if name == 'SIGTERM' else 'the same'}, {name}: the last gets events after it serves, longest",
                max(times),
                "s",
                2,
                median=median(times),
            )
            for name, times in back.items()
        ),
        Measure("D5", "the event server has ended after SIGTERM, longest", max(ended), "s"),
        at_least("D5", "gaps that each subscriber was told of, at least", told, "", rounds),
        at_most("D5", "growth of a process of clients, for each restart of the second half", growth, "KiB", 64),
    ]
