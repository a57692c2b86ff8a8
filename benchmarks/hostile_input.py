"""The rows of `hostile.py` about what arrives: damaged bytes, dear payloads, and names that are asked for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import BenchmarkError, Child, cores
from report import Measure, at_least, at_most

FUZZ = Path(__file__).resolve().parent.parent / "fuzz"
sys.path.insert(0, str(FUZZ))

import bombs  # noqa: E402
import class_trees  # noqa: E402
import live  # noqa: E402
from peer import Dead, Target  # noqa: E402
from storm import Storm  # noqa: E402

INPUTS, FRAMES, TREES = 5_000_000, 100_000, 500
QUICK_MS, WALKED_MS = 10.0, 100.0
RESIDENT_KIB = 1024
"""Memory that a process may have more at the end than in the middle of a run."""

PATIENCE = 12 * 3600.0


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        scale: share of the full counts.
        count: inputs of the fuzzer, 0 for that share of them.
        seed: of the random numbers.
        rounds: of what is compared with its absence.
        details: a line for each payload.
    """

    scale: float = 1.0
    count: int = 0
    seed: int = 1
    rounds: int = 5
    details: bool = False

    def share(self, full: int) -> int:
        """That share of a full count, at least one."""
        return max(1, round(full * self.scale))


def progress(text: str) -> None:
    """Tell a person what is going on, apart from the result."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def alive(target: Target, what: str) -> Iterator[None]:
    """Make an error of the benchmark of what a dead server causes."""
    try:
        yield
        target.unharmed()
    except Dead as error:
        raise BenchmarkError(f"{what}: {error}") from error


# ---- damaged bytes


def _run(command: list[str], **more: Any) -> str:
    """Run a program to its end, and end it with us; what it printed."""
    # Ctrl-C waits until we know whom to end.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, **more)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(10)
    if process.returncode not in (0, 1):
        raise BenchmarkError(f"{Path(command[-1]).name} ended with code {process.returncode}")
    return out


def _fuzz(plan: Plan, full: int, *before: str, **more: Any) -> dict[str, Any]:
    runs = plan.count or plan.share(full)
    command = [sys.executable, *before, str(FUZZ / "fuzz_wire.py")]
    out = _run([*command, "--runs", str(runs), "--seed", str(plan.seed), "--json"], **more)
    told, _, numbers = out.rstrip().rpartition("\n")
    if told:
        progress(told)  # a finding, with its input
    result: dict[str, Any] = json.loads(numbers)
    return result


def fuzz_row(plan: Plan) -> list[Measure]:
    """Damaged frames, hellos, metadata and values, without a socket."""
    progress(f"fuzz: {plan.count or plan.share(INPUTS):,} inputs of seed {plan.seed}")
    result = _fuzz(plan, INPUTS)
    memory = result["resident_kib"]
    growth = memory[-1] - memory[len(memory) // 2] if memory else 0
    done, wanted = result["inputs"], plan.count or plan.share(INPUTS)
    what = "memory, from the middle of the run to its end"
    return [
        at_least("C2", f"damaged inputs to the core, seed {plan.seed}", done, "inputs", wanted),
        at_most("C2", "exceptions other than the documented ones, crashes, hangs", result["findings"], "", 0),
        at_most("C2", what, growth, "KiB", RESIDENT_KIB, resident_kib=memory),
        Measure("C2", "speed", done / result["seconds"], "inputs/s", numbers=result),
        Measure("C2", "different outcomes", result["outcomes"]),
    ]


def coverage_row(plan: Plan) -> list[Measure]:
    """Branches of the code that the fuzzer runs through."""
    try:
        import coverage  # noqa: F401
    except ImportError:
        raise BenchmarkError("the row coverage needs the package coverage: pip install -e '.[dev]'") from None
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "COVERAGE_FILE": str(Path(folder) / "data")}
        before = ("-m", "coverage", "run", "--branch", "--source=gpyro.wire,gpyro.values")
        progress("coverage: the fuzzer, slower")
        result = _fuzz(plan, 200_000, *before, env=environment)
        told = _run([sys.executable, "-m", "coverage", "json", "-q", "-o", "-"], env=environment)
        files = json.loads(told)["files"]
    ours = {name.rpartition("gpyro/")[2]: one for name, one in files.items()}
    measures = []
    for package, names in _READING.items():
        wanted = {f"{package}/{name}.py" for name in names.split()}
        reading = {name: one for name, one in ours.items() if name in wanted}
        missing = {name: one["missing_lines"] for name, one in reading.items()}
        what = f"lines and branches that run through, of the files of gpyro.{package} that read what arrives"
        measures.append(at_least("C2", what, _covered(reading), "%", 95, missing_lines=missing))
        whole = {name: one for name, one in ours.items() if name.startswith(package)}
        measures.append(Measure("C2", f"the same of all of gpyro.{package}", _covered(whole), "%"))
    return [Measure("C2", "damaged inputs, with coverage", result["inputs"], "inputs"), *measures]


# Without those that only send, register classes, choose serializers, or read what nobody else may send (pickle).
_READING = {
    "wire": "connection credit foreign frames hello metadata",
    "values": "arrays codes exceptions guard json_ msgpack_ objects packing special state",
}


def _covered(files: dict[str, Any]) -> float:
    """Percentage of the lines and branches of files that were run through."""
    totals = [one["summary"] for one in files.values()]
    part = sum(one["covered_lines"] + one["covered_branches"] for one in totals)
    return float(100 * part / sum(one["num_statements"] + one["num_branches"] for one in totals))


def storm_row(plan: Plan) -> list[Measure]:
    """Damaged frames over sockets, beside a client that must not notice."""
    frames = plan.share(FRAMES)
    progress(f"storm: {frames:,} frames over sockets")
    with tempfile.TemporaryFile() as log, Target(log) as target, Child("client", cores()[1]) as modest:
        storm = Storm(target, plan.seed)
        with alive(target, "storm"):
            storm.rage(max(1, frames // 10))
        modest.ask(do="watch", address=f"PYRO://127.0.0.1:{target.port}/{target.guid}")
        before = _alone_with(target, 2)  # the doctor, and the client that watches
        with alive(target, "storm"):
            result = storm.rage(
                frames - storm.result.frames, lambda so_far: progress(f"storm: {so_far.frames:,} frames")
            )
        seen = modest.ask(do="watched")
        after = _at_rest(target, before)
        lines = _lines(log)
    for line in result.wrong:
        progress(f"storm: {line}")
    latency = seen["latency_ms"]
    return [
        at_least("C2", "damaged frames over sockets", result.frames, "frames", frames, answers=dict(result.answers)),
        at_most("C2", "answers that no server gives, and harm done", len(result.wrong), "", 0, wrong=result.wrong),
        at_most("C2", "errors of a client beside them", sum(seen["errors"].values()) + seen["given_up"], "", 0),
        at_most("C2", "its longest call", latency["max"], "ms", 1000, p99=latency["p99"], calls=seen["calls"]),
        at_most("C2", "memory of the server", after["resident_kib"] - before["resident_kib"], "KiB", RESIDENT_KIB),
        at_most("C2", "descriptors of the server", after["descriptors"] - before["descriptors"], "", 0),
        Measure("C2", "speed", result.frames / result.seconds, "frames/s"),
        Measure("C2", "lines in the server's log", lines),
    ]


def _alone_with(target: Target, connections: int) -> dict[str, int]:
    """What the server uses when it has so many connections and no more."""
    end = time.monotonic() + 10
    while (found := target.doctor.health())["connections"] != connections:
        if time.monotonic() > end:
            raise BenchmarkError(f"the server has {found['connections']} connections instead of {connections}")
        time.sleep(0.1)
    health: dict[str, int] = found
    return health


def _at_rest(target: Target, before: dict[str, int]) -> dict[str, int]:
    """What the server uses when those who are gone are forgotten; whom it sent away has a second to read why."""
    end = time.monotonic() + 10
    while (after := target.doctor.health())["descriptors"] > before["descriptors"] and time.monotonic() < end:
        time.sleep(0.1)
    found: dict[str, int] = after
    return found


def _lines(log: Any) -> int:
    log.seek(0)
    return sum(1 for _ in log)


# ---- payloads that are dear to receive


def _milliseconds(function: Callable[[], object]) -> float:
    """The processor time of the quickest of five runs: the machine may have other work."""
    times = []
    for _ in range(5):
        before = time.thread_time()
        function()
        times.append(time.thread_time() - before)
    return 1000 * min(times)


def bombs_row(plan: Plan) -> list[Measure]:
    """Payloads that are small to send and dear to receive, and floods of frames."""
    import numpy  # noqa: F401 - so that no payload is charged for its import

    details, wrong = [], []
    quick, walked, memory = [0.0], [0.0], [0.0]
    for number, bomb in enumerate(bombs.BOMBS, 1):
        if number % 20 == 0:
            progress(f"bombs: {number} of {len(bombs.BOMBS)}")
        payload = bomb.payload()
        text = bomb.refusal(payload)
        if not (re.search(bomb.error, text) if bomb.error else text == ""):
            wrong.append(f"{bomb.name}: {text[:100]!r}")
        took = _milliseconds(lambda bomb=bomb, payload=payload: bomb.refusal(payload))
        (walked if bomb.walked else quick).append(took)
        peak = bomb.peak(payload)
        memory.append(peak / (2 * len(payload) + bombs.SPARE))
        limit = WALKED_MS if bomb.walked else QUICK_MS
        met = took <= limit and memory[-1] <= 1
        value = f"{took:.2f} ms, {peak / 1024:,.0f} KiB for {len(payload) / 1024:,.1f} KiB"
        details.append(Measure("C3", bomb.name, value, "", f"{limit:g} ms", met))
    measures = [
        at_least("C3", "payloads", len(bombs.BOMBS), "", 25),
        at_most("C3", "of which not refused with the right error", len(wrong), "", 0, wrong=wrong),
        at_most("C3", "longest refusal", max(quick), "ms", QUICK_MS),
        at_most("C3", "longest refusal of what had to be walked", max(walked), "ms", WALKED_MS),
        at_most("C3", "most memory, in shares of twice the payload and 64 KiB", max(memory), "", 1),
    ]
    for line in wrong:
        progress(f"bombs: {line}")
    found = [*measures, *_live_bombs(plan, details)]
    return found + (details if plan.details else [])


def _live_bombs(plan: Plan, details: list[Measure]) -> list[Measure]:
    """The same payloads, and floods, at a running server; and what servers may answer, at a client."""
    wrong = []
    with Target() as target:
        progress("bombs: at a running server")
        before = target.doctor.health()
        for bomb in bombs.BOMBS:
            if bomb.way != "error":
                with alive(target, bomb.name):
                    text = live.throw(target, bomb)
                if not re.search(bomb.error or "the bytes are no call", text):
                    wrong.append(f"{bomb.name}: {text[:100]!r}")
        for flood in live.FLOODS:
            with alive(target, flood.name):
                started = time.monotonic()
                text = live.flood(target, flood, plan.scale)
                details.append(Measure("C3", flood.name, time.monotonic() - started, "s"))
            if flood.error not in text or bool(flood.error) is not bool(text):
                wrong.append(f"{flood.name}: {text[:100]!r}")
            target.proxy.let_go()
        after = _at_rest(target, before)
    errors = {f"method{number}": bomb for number, bomb in enumerate(bombs.BOMBS) if bomb.way == "error"}
    with live.hostile_server({method: bomb.payload() for method, bomb in errors.items()}) as proxy:
        for method, bomb in errors.items():
            text = live.refusal_of_proxy(proxy, method)
            if not (re.search(bomb.error, text) if bomb.error else text == ""):
                wrong.append(f"{bomb.name}: {text[:100]!r}")
    for line in wrong:
        progress(f"bombs: {line}")
    grown = (after["most_resident_kib"] - before["most_resident_kib"]) / 1024
    return [
        at_least("C3", "floods of frames", len(live.FLOODS), "", 10),
        at_most("C3", "payloads and floods that a running end did not answer rightly", len(wrong), "", 0, wrong=wrong),
        at_most("C3", "servers that did not live on, with their other clients", 0, "", 0),
        at_most("C3", "most memory that the server took meanwhile", grown, "MiB", 128),
        at_most("C3", "descriptors of the server", after["descriptors"] - before["descriptors"], "", 0),
    ]


# ---- names that are asked for


def reach_row(plan: Plan) -> list[Measure]:
    """Class trees: what is reached of their objects is what the manual says."""
    trees = plan.share(TREES)

    def tell(done: int) -> None:
        if done % 100 == 99:
            progress(f"reach: {done + 1 - plan.seed} of {trees} trees")

    wrong, asked = class_trees.explore(range(plan.seed, plan.seed + trees), tell)
    for line in wrong[:20]:
        progress(f"reach: {line}")
    return [
        at_least("C5", "random class trees", trees, "", trees),
        Measure("C5", "requests for their members, by every kind of message", asked),
        at_most("C5", "members reached that should not be, or not reached that should", len(wrong), "", 0, wrong=wrong),
    ]
