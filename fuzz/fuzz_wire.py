"""Fuzzes what a stranger's bytes reach first: frames, hellos, metadata and values.

The invariants: `Connection.feed` gives frames or raises one WireError, the same however the bytes are cut; `Hello` and
the metadata are read or refused by a WireError; decoding gives a value or raises SerializationError. Nothing else may
be raised, and nothing may take long.

Usage: fuzz_wire.py [--seconds N] [--runs N] [--seed N] [--json] [--hex HEX] [FILE...]

With files, or an input in hexadecimal digits, these inputs are run, each once. Without, valid inputs are made and
mutated; the same seed makes the same inputs, as long as the code that they meet is the same. An input that breaks an
invariant is printed and written to fuzz/crashes/, and the exit code is 1. Where `atheris` is installed, its
coverage-guided engine does the mutating, unless `--json` asks for the numbers of ours.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import hashlib
import json
import mmap
import random
import resource
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import grammar
from grammar import MAX_INPUT, fresh, mutate
from wire_targets import TARGETS, one_input

CRASHES = Path(__file__).resolve().parent / "crashes"

MEMORY = 4 * 1024**3
"""Bytes of address space: what takes more is a finding, not a burden for the machine."""

HANGING = 120
"""Seconds without progress after which it says where it hangs, and ends."""

MAX_POOL = 400
"""Inputs of one target that are mutated further; so many, and no longer ones, that they take no memory to speak of."""

MAX_POOLED = 3_000
MAX_OUTCOMES = 100_000
SHOWN_EVERY = 10.0

# How often each target has its turn.
_TURNS = (0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 5, 5)


class Journal:
    """The current input in a file of its own, for the case that the interpreter itself dies of it."""

    def __init__(self) -> None:
        CRASHES.mkdir(exist_ok=True)
        self.path = CRASHES / "current"
        self._file = self.path.open("w+b")
        self._file.truncate(MAX_INPUT + 4)
        self._map = mmap.mmap(self._file.fileno(), MAX_INPUT + 4)

    def write(self, data: bytes) -> None:
        self._map[: 4 + len(data)] = struct.pack("!I", len(data)) + data

    def close(self) -> None:
        self._map.close()
        self._file.close()
        self.path.unlink(missing_ok=True)


def keep(data: bytes) -> Path:
    """Write an input that broke an invariant."""
    CRASHES.mkdir(exist_ok=True)
    path = CRASHES / f"wire-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


class Inputs:
    """Inputs one after the other: the corpus, then new ones, and those that led to something new, mutated."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._corpus = grammar.corpus()
        self._pools: list[list[bytes]] = [[] for _ in TARGETS]
        for data in self._corpus:
            self._pools[data[0]].append(data)
        for target, pool in enumerate(self._pools):
            pool.extend(fresh(self._chance, target) for _ in range(60))
        self._known: set[int] = set()

    @property
    def outcomes(self) -> int:
        """How many different things came of the inputs."""
        return len(self._known)

    def next(self) -> bytes:
        """The next input."""
        if self._corpus:
            return self._corpus.pop()
        chance = self._chance
        # A proof takes as long as dozens of others.
        pool = self._pools[chance.choice(_TURNS) if chance.random() > 0.002 else grammar.PROOF]
        data = chance.choice(pool)
        kind = chance.random()
        if kind > 0.998:
            data = grammar.large(chance)
        elif kind < 0.1:
            data = fresh(chance, data[0])
        if kind < 0.02:
            return data
        return mutate(chance, data, chance.choice(pool))

    def came_of(self, data: bytes, outcome: object) -> None:
        """Remember an input that led to a new outcome."""
        number = hash(outcome)
        if number in self._known or len(self._known) >= MAX_OUTCOMES:
            return
        self._known.add(number)
        pool = self._pools[data[0] % len(TARGETS)]
        if len(data) > MAX_POOLED:
            return
        if len(pool) < MAX_POOL:
            pool.append(data)
        else:
            pool[self._chance.randrange(len(pool))] = data


def resident_kib() -> int:
    """The memory of this process that is resident."""
    gc.collect()
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS:"))


def fuzz(seconds: float, runs: int, seed: int, as_json: bool = False) -> int:
    """Mutate and run; gives the exit code."""
    inputs = Inputs(seed)
    counts: Counter[str] = Counter()
    journal = Journal()
    started = shown = now = time.monotonic()
    done, code, memory = 0, 0, [0]
    try:
        while done < runs if runs else now - started < seconds:
            data = inputs.next()
            journal.write(data)
            try:
                outcome = one_input(data)
            except Exception as error:
                traceback.print_exc()
                print(f"{type(error).__name__} after {done:,} inputs of seed {seed}; the input is in {keep(data)}:")
                print(data.hex())
                code = 1
                break
            done += 1
            inputs.came_of(data, outcome)
            if data:
                counts[TARGETS[data[0] % len(TARGETS)].__name__] += 1
            now = time.monotonic()
            if runs and done % max(1, runs // 10) == 0:
                memory.append(resident_kib())
            if now - shown >= SHOWN_EVERY:
                shown = now
                faulthandler.dump_traceback_later(HANGING, exit=True)
                rate = done / (now - started)
                text = f"{now - started:5.0f} s  {done:,} inputs  {rate:,.0f}/s  {inputs.outcomes:,} outcomes"
                print(text, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        code = 130
    finally:
        faulthandler.cancel_dump_traceback_later()
        journal.close()
    took = max(now - started, 0.001)
    result = {
        "seed": seed,
        "inputs": done,
        "seconds": took,
        "outcomes": inputs.outcomes,
        "targets": dict(sorted(counts.items())),
        "resident_kib": memory[1:],
        "findings": int(code == 1),
    }
    if as_json:
        print(json.dumps(result))
    else:
        end = {0: "no findings", 1: "a finding", 130: "interrupted"}[code]
        print(
            f"seed {seed}: {done:,} inputs in {took:.1f} s, {done / took:,.0f}/s, {inputs.outcomes:,} outcomes, {end}"
        )
        print("  " + ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
    return code


def replay(inputs: dict[str, bytes]) -> int:
    """Run inputs that have names, each once; gives the exit code."""
    code = 0
    for name, data in inputs.items():
        try:
            print(f"{name}: {one_input(data)}")
        except Exception:
            traceback.print_exc()
            print(f"{name}: an invariant is broken")
            code = 1
    return code


def read(path: Path) -> bytes:
    """An input from a file, also from what a journal left."""
    data = path.read_bytes()
    return data[4 : 4 + int.from_bytes(data[:4], "big")] if path.name == "current" else data


def fuzz_by_coverage(atheris: Any, seconds: float, runs: int, seed: int) -> None:
    """Let atheris do it; it ends the process itself."""
    corpus = CRASHES.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    chance = random.Random(seed)
    for data in [*grammar.corpus(), *(fresh(chance, target) for target in range(len(TARGETS)) for _ in range(100))]:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    CRASHES.mkdir(exist_ok=True)
    atheris.instrument_all()
    limit = f"-runs={runs}" if runs else f"-max_total_time={int(seconds)}"
    options = [f"-seed={seed or 1}", limit, f"-max_len={MAX_INPUT}", f"-artifact_prefix={CRASHES}/wire-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--runs", type=int, default=0, help="how many inputs, instead of how long")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--hex", type=bytes.fromhex, help="an input to run once, in hexadecimal digits")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="inputs to run once, instead of making any")
    options = parser.parse_args(arguments)
    warnings.simplefilter("error")
    if options.files or options.hex is not None:
        inputs = {str(path): read(path) for path in options.files}
        return replay(inputs if options.hex is None else {"the input": options.hex, **inputs})
    if not options.json:
        try:
            import atheris
        except ImportError:
            pass
        else:
            fuzz_by_coverage(atheris, options.seconds, options.runs, options.seed)
            return 0
    return fuzz(options.seconds, options.runs, options.seed, options.json)


if __name__ == "__main__":
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.exit(main(sys.argv[1:]))
