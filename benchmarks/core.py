"""How fast gpyro's core is, beside a bare gevent echo server, in one run.

Usage:
  core.py [--rows NAMES] [--rounds N] [--seconds S] [--quick] [--json]
  core.py -h | --help

Options:
  --rows NAMES   which rows, with commas: speed, memory, fairness [default: speed,memory,fairness]
  --rounds N     rounds of the speed rows, 1 to 50 [default: 5]
  --seconds S    how long each measurement of a round lasts, 0.1 to 60 [default: 2]
  --quick        2 rounds of 0.5 s and a tenth of the connections: does it work, not how fast is it
  --json         print the numbers as JSON
  -h --help      this text

Servers run in processes of their own on the first processor, clients on the second. The bare server echoes as many
bytes as a call takes, without any RPC. Machines are noisy, so every round measures both, one right after the other and
in alternating order; what counts is the median of the rounds' ratios (in brackets the smallest and the largest).
"""

from __future__ import annotations

import json
import platform
import resource
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import gevent
from docopt import DocoptExit, docopt
from processes import BenchmarkError, Child, cores
from report import Row, absolute, spread, table

# What one echo call of the dict in children.py takes on the wire; its answer takes 61.
PAYLOAD_BYTES = 69
# Descriptors of a server besides its connections.
OTHER_FILES = 100
HOLDERS = 5
FLOOD_CALLS, FLOOD_SECONDS = 2000, 0.001


@dataclass
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    few: int = 2_000
    many: int = 10_000
    floods: int = 3


# Each pair: what is measured, its number of callers, and the share of the bare server's speed that it should reach.
SPEED = {
    "64 callers on one proxy": ("shared", 64, 1.6),
    "64 callers on 64 private channels": ("private", 64, 1.0),
    "one caller": ("shared", 1, 0.7),
}
P99_AIM = 1.5
MEMORY_AIM_KIB = 4.0
FAIRNESS_AIM_MS = 50.0


def progress(text: str) -> None:
    """Tell a person what is going on, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def speed(plan: Plan) -> list[Row]:
    """The rows of calls per second, each beside a bare echo with as many sockets as there are callers."""
    server_core, client_core = cores()
    pairs: dict[str, list[tuple[Any, Any]]] = {work: [] for work in SPEED}
    with (
        Child("bare", server_core) as bare,
        Child("gpyro", server_core) as gpyro,
        Child("client", client_core) as client,
    ):
        addresses = {"bare": bare.answer()["address"], "gpyro": gpyro.answer()["address"]}

        def measure(kind: str, callers: int) -> Any:
            address = addresses["bare" if kind == "bare" else "gpyro"]
            return client.ask(
                do="measure", kind=kind, address=address, callers=callers, seconds=plan.seconds, payload=PAYLOAD_BYTES
            )

        for number in range(plan.rounds):
            progress(f"speed: round {number + 1} of {plan.rounds}")
            for work, (kind, callers, _) in SPEED.items():
                if number % 2:
                    ours = measure(kind, callers)
                    base = measure("bare", callers)
                else:
                    base = measure("bare", callers)
                    ours = measure(kind, callers)
                pairs[work].append((base, ours))
    rows = []
    for callers in (64, 1):
        bases = [base for work, (_, count, _) in SPEED.items() if count == callers for base, _ in pairs[work]]
        name = f"bare echo, {callers} socket{'s' if callers > 1 else ''}, {PAYLOAD_BYTES} bytes, no RPC"
        rows.append(Row(name, absolute(bases), numbers={"rounds": bases}))
    for work, (_, _, aim) in SPEED.items():
        ratios = [ours["calls_per_second"] / base["calls_per_second"] for base, ours in pairs[work]]
        tails = [ours["latency_ms"]["p99"] / base["latency_ms"]["p99"] for base, ours in pairs[work]]
        measured = f"{spread(ratios)} times the bare echo; {absolute([ours for _, ours in pairs[work]])}"
        numbers = {"ratios": ratios, "p99_ratios": tails, "rounds": [ours for _, ours in pairs[work]]}
        rows.append(Row(work, measured, f"at least {aim} times", median(ratios) >= aim, numbers))
        if work.endswith("one proxy"):
            met = median(tails) <= P99_AIM
            rows.append(Row("its p99", f"{spread(tails)} times the bare echo's", f"at most {P99_AIM} times", met))
    return rows


def memory(plan: Plan) -> list[Row]:
    """What one more connection costs the server, once with gpyro and once with the bare echo server."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = plan.many if hard == resource.RLIM_INFINITY else min(plan.many, hard - OTHER_FILES)
    few = min(plan.few, many // 2)
    rows = []
    for kind, role in (("private", "gpyro"), ("bare", "bare")):
        progress(f"memory: {many:,} connections to the {role} server")
        server_core, client_core = cores()
        with ExitStack() as stack:
            server = stack.enter_context(Child(role, server_core))
            address = server.answer()["address"]
            holders = [stack.enter_context(Child("client", client_core)) for _ in range(HOLDERS)]
            sizes, opened = [], 0
            for total in (few, many):
                for index, holder in enumerate(holders):
                    # What is still missing, shared among the holders that have not had their turn.
                    count = (total - opened) // (HOLDERS - index)
                    opened += holder.ask(do="hold", kind=kind, address=address, count=count)
                sizes.append(server.resident_kib())
        slope = (sizes[1] - sizes[0]) / (many - few)
        numbers = {"connections": [few, many], "resident_kib": sizes, "kib_each": slope}
        if role == "gpyro":
            work = f"a connection that said hello, opened a session and made one call; from {few:,} to {many:,}"
            aim = f"at most {MEMORY_AIM_KIB:g} KiB"
            rows.append(Row(work, f"{slope:.2f} KiB of server memory", aim, slope <= MEMORY_AIM_KIB, numbers))
        else:
            rows.append(Row("the same with the bare echo server", f"{slope:.2f} KiB", numbers=numbers))
    return rows


def fairness(plan: Plan) -> list[Row]:
    """The longest that a client waits for an echo while another client's channel is full of work."""
    server_core, client_core = cores()
    worst, took, echoes = [], [], []
    with (
        Child("gpyro", server_core) as server,
        Child("client", client_core) as greedy,
        Child("client", client_core) as modest,
    ):
        address = server.answer()["address"]
        for number in range(plan.floods):
            progress(f"fairness: flood {number + 1} of {plan.floods}")
            modest.ask(do="watch", address=address)
            took.append(greedy.ask(do="flood", address=address, count=FLOOD_CALLS, seconds=FLOOD_SECONDS))
            seen = modest.ask(do="watched")
            worst.append(seen["latency_ms"]["max"])
            echoes.append(seen["calls"])
    work = f"another client's echo while one channel has {FLOOD_CALLS:,} calls of {FLOOD_SECONDS * 1000:g} ms queued"
    measured = f"longest {max(worst):.1f} ms (of {sum(echoes):,} echoes in {plan.floods} floods)"
    numbers = {"longest_ms": worst, "echoes": echoes, "flood_seconds": took}
    return [Row(work, measured, f"at most {FAIRNESS_AIM_MS:g} ms", max(worst) <= FAIRNESS_AIM_MS, numbers)]


MEASUREMENTS = {"speed": speed, "memory": memory, "fairness": fairness}


def number(text: str, kind: type[int] | type[float], least: float, most: float, name: str) -> Any:
    """An option's value, or a clear error."""
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise BenchmarkError(f"{name} must be a number from {least:g} to {most:g}, not {text!r}")
    return value


def main() -> int:
    """Measure and print; the exit code tells whether it could be measured, not whether the aims were met."""
    try:
        options = docopt(__doc__ or "")
    except DocoptExit as error:
        print(error.usage, file=sys.stderr)
        return 2
    try:
        names = options["--rows"].split(",")
        if unknown := [name for name in names if name not in MEASUREMENTS]:
            raise BenchmarkError(f"--rows knows {', '.join(MEASUREMENTS)}, not {', '.join(unknown)}")
        plan = Plan(
            number(options["--rounds"], int, 1, 50, "--rounds"),
            number(options["--seconds"], float, 0.1, 60, "--seconds"),
        )
        if options["--quick"]:
            plan = Plan(rounds=2, seconds=0.5, few=200, many=1_000, floods=1)
        rows = [row for name in names for row in MEASUREMENTS[name](plan)]
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    machine = {
        "python": platform.python_version(),
        "gevent": gevent.__version__,
        "machine": platform.platform(),
        "pinned": cores()[0] is not None,
        "plan": asdict(plan),
    }
    if options["--json"]:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        pinned = "a processor each" if machine["pinned"] else "not pinned: fewer than two processors"
        print(
            f"Python {machine['python']}, gevent {machine['gevent']}, {machine['machine']}; {pinned}\n\n{table(rows)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
