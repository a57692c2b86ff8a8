"""How fast what goes beyond a single call is: streams, batches, large values; beside bare gevent programs and Pyro 5.

Usage:
  calls.py [--rows NAMES] [--rounds N] [--items N] [--json]
  calls.py -h | --help

Options:
  --rows NAMES  which rows, with commas [default: stream,upload,bytes,array,batch,beside]
  --rounds N    rounds of each row, 1 to 50 [default: 5]
  --items N     items of a stream, 1000 to 10000000 [default: 100000]
  --json        print the numbers as JSON
  -h --help     this text

Rows: stream, a generator of small numbers that a method returns and the client iterates; upload, one that the client
passes as an argument; bytes, 1 MiB of bytes echoed; array, 100 MB of a numpy array echoed; batch, batches of 1,000
calls; beside, what small calls take while 1 GiB is echoed on the same connection.

Servers run in processes of their own on the first processor, clients on the second. The bare programs send the same
over sockets without any RPC: the items as lines; the bytes behind their length, read as a whole and sent back. The
floor of the last row is what small echoes of theirs take in processes of their own while others echo 1 GiB: what the
machine itself makes them wait. Pyro 5 takes part if it is installed (pip install gpyro[bench]), with a tenth of the
items of a stream; it gets arrays as bytes. Each round measures all, one right after the other; what counts is the
median of the rounds' ratios (in brackets the smallest and the largest).
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import median
from typing import Any

from calls_programs import ASKED, BESIDE, CLIENTS, PINNED, SERVERS
from docopt import DocoptExit, docopt
from processes import BenchmarkError, cores
from report import Row, spread, table


class Pair:
    """A server and its client, each a process; a context manager that ends them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Pair:
        server_core, client_core = cores()
        server = self._start(PINNED + SERVERS[self.kind], str(server_core))
        self._start(
            PINNED + CLIENTS[self.kind] + ("" if self.kind == "pyro5" else BESIDE) + ASKED,
            str(client_core),
            self._line(server),
        )
        return self

    def _start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise BenchmarkError(f"a process of {self.kind} has ended")
        return line

    def measure(self, row: str, count: int) -> float:
        """How much was done in a second."""
        return self.ask(row, count)[0]

    def ask(self, row: str, count: int) -> list[float]:
        """What the client measured."""
        self.tell(row, count)
        return self.answer()

    def tell(self, row: str, count: int) -> None:
        """Have the client begin; `answer` waits for it."""
        client = self._processes[-1]
        assert client.stdin is not None
        client.stdin.write(f"{row} {count}\n")
        client.stdin.flush()

    def answer(self) -> list[float]:
        """What the client measured in the end."""
        return [float(word) for word in self._line(self._processes[-1]).split()]

    def __exit__(self, *exception: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Work:
    """A row.

    Attributes:
        title: what is done.
        count: how much of it in a round.
        unit: of the rate.
        factor: what one is worth in that unit.
        kinds: who does it, besides gpyro.
        share: part of the count that Pyro 5 gets.
        bare_aim, pyro5_aim: least ratios.
    """

    title: str
    count: int
    unit: str
    factor: float = 1
    kinds: tuple[str, ...] = ("bare", "pyro5")
    share: float = 1
    bare_aim: float | None = None
    pyro5_aim: float | None = None


def works(items: int) -> dict[str, Work]:
    """The rows that are rates."""
    return {
        "stream": Work(f"a stream of {items:,} small items", items, "items/s", share=0.1, pyro5_aim=30),
        "upload": Work(f"the same as an argument: {items:,} items", items, "items/s", kinds=("bare",)),
        "bytes": Work("1 MiB of bytes echoed", 300, "MiB/s", kinds=("bare",), bare_aim=0.7),
        "array": Work("100 MB of a numpy array echoed", 5, "MB/s", factor=100, bare_aim=0.7, pyro5_aim=5),
        "batch": Work("batches of 1,000 calls", 20_000, "calls/s", kinds=("pyro5",), pyro5_aim=10),
    }


# What a bare program does in a row, where that has another name.
_SAME = {("bare", "upload"): "stream"}


def measure(name: str, rounds: int, work: Work) -> list[Row]:
    """One row, with those that it is compared with."""
    kinds = ["gpyro", *(kind for kind in work.kinds if kind != "pyro5" or find_spec("Pyro5") is not None)]
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        pairs = {kind: stack.enter_context(Pair(kind)) for kind in kinds}
        for number in range(rounds + 1):
            print(f"{name}: round {number} of {rounds}", file=sys.stderr, flush=True)
            for kind in kinds:
                count = max(1, round(work.count * work.share)) if kind == "pyro5" else work.count
                rate = pairs[kind].measure(_SAME.get((kind, name), name), count)
                if number:  # the first round warms up
                    rates[kind].append(rate * work.factor)

    def against(kind: str) -> list[float]:
        return [own / other for own, other in zip(rates["gpyro"], rates[kind], strict=True)]

    numbers: dict[str, Any] = {"rates": rates, "unit": work.unit}
    measured, aim, passed = f"{median(rates['gpyro']):,.0f} {work.unit}", "", None
    if "bare" in rates:
        measured += f"; {spread(against('bare'))} times the bare program's {median(rates['bare']):,.0f}"
        if work.bare_aim is not None:
            aim, passed = f"at least {work.bare_aim} times", median(against("bare")) >= work.bare_aim
    rows = [Row(work.title, measured, aim, passed, numbers=numbers)]
    if "pyro5" in rates:
        form = ".0f" if work.pyro5_aim and work.pyro5_aim >= 10 else ".1f"
        measured = f"{median(rates['pyro5']):,.0f} {work.unit}; gpyro is {spread(against('pyro5'), form)} times as fast"
        met = work.pyro5_aim is None or median(against("pyro5")) >= work.pyro5_aim
        rows.append(Row("the same with Pyro 5", measured, f"at least {work.pyro5_aim} times", met))
    return rows


def beside(rounds: int) -> list[Row]:
    """What small calls take while 1 GiB goes both ways on the same connection."""
    taken, floors, rates, alone = [], [], [], []
    with ExitStack() as stack:
        own, large, small = (stack.enter_context(Pair(kind)) for kind in ("gpyro", "bare", "bare"))
        for number in range(rounds + 1):
            print(f"beside: round {number} of {rounds}", file=sys.stderr, flush=True)
            rate = own.measure("giant", 1)
            p99, slowed = own.ask("beside", 1)
            large.tell("giant", 4)
            (floor,) = small.ask("lone", 2)
            large.answer()
            if number:  # the first round warms up
                taken.append(p99)
                floors.append(floor)
                rates.append(slowed)
                alone.append(rate)
    times = [one / floor for one, floor in zip(taken, floors, strict=True)]
    shares = [slowed / rate for slowed, rate in zip(rates, alone, strict=True)]
    measured = f"{spread(taken, '.1f')} ms; {spread(times, '.1f')} times the floor of {median(floors):.1f} ms"
    met = median(taken) <= 5 or median(times) <= 3
    numbers: dict[str, Any] = {"p99_ms": taken, "floor_ms": floors, "gib_per_second": rates, "alone": alone}
    return [
        Row("p99 of small calls while 1 GiB is echoed", measured, "at most 5 ms, or 3 times", met, numbers=numbers),
        Row("speed of that echo, times that alone", spread(shares), "at least 0.7", median(shares) >= 0.7),
    ]


def number(text: str, least: int, most: int, name: str) -> int:
    """An option's value, or a clear error."""
    if not text.isdecimal() or not least <= int(text) <= most:
        raise BenchmarkError(f"{name} must be a number from {least} to {most}, not {text!r}")
    return int(text)


def main() -> int:
    """Measure and print; the exit code tells whether it could be measured, not whether the aims were met."""
    try:
        options = docopt(__doc__ or "")
    except DocoptExit as error:
        print(error.usage, file=sys.stderr)
        return 2
    try:
        names = options["--rows"].split(",")
        known = [*works(0), "beside"]
        if unknown := [name for name in names if name not in known]:
            raise BenchmarkError(f"--rows knows {', '.join(known)}, not {', '.join(unknown)}")
        rounds = number(options["--rounds"], 1, 50, "--rounds")
        items = number(options["--items"], 1000, 10_000_000, "--items")
        todo = works(items)
        rows = [
            row for name in names for row in (measure(name, rounds, todo[name]) if name in todo else beside(rounds))
        ]
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps([asdict(row) for row in rows], indent=2) if options["--json"] else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
