"""How fast what goes beyond a single call is: streams, beside a bare gevent loop and Pyro 5.

Usage:
  calls.py [--rows NAMES] [--rounds N] [--items N] [--json]
  calls.py -h | --help

Options:
  --rows NAMES  which rows, with commas: stream, upload [default: stream,upload]
  --rounds N    rounds of each row, 1 to 50 [default: 5]
  --items N     items of a stream, 1000 to 10000000 [default: 100000]
  --json        print the numbers as JSON
  -h --help     this text

Servers run in processes of their own on the first processor, clients on the second. A stream is a generator of small
numbers that a method returns and the client iterates; an upload is one that the client passes as an argument. The bare
loop sends the same items as lines over a socket, without any RPC. Pyro 5 takes part in the row of the stream if it is
installed (pip install gpyro[bench]), with a tenth of the items. Each round measures all, one right after the other;
what counts is the median of the rounds' ratios (in brackets the smallest and the largest).
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from statistics import median
from typing import Any

from docopt import DocoptExit, docopt
from processes import BenchmarkError, cores
from report import Row, spread, table

STREAM_AIM = 30

PINNED = """
import os, sys, time
if sys.argv[1] != "None":
    os.sched_setaffinity(0, {int(sys.argv[1])})
"""

SERVERS = {
    "gpyro": """
from gpyro import core
class Source(core.ObjBase):
    def numbers(self, count):
        return (number for number in range(count))
    def total(self, numbers):
        return sum(1 for _ in numbers)
daemon = core.Daemon(host="localhost", port=0, norange=1)
print(daemon.connect(Source(), "source"), flush=True)
daemon.requestLoop()
""",
    "bare": """
from gevent.server import StreamServer
def serve(connection, address):
    file = connection.makefile("rwb", buffering=65536)
    while line := file.readline():
        for number in range(int(line)):
            file.write(b"%d\\n" % number)
        file.flush()
server = StreamServer(("127.0.0.1", 0), serve)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
""",
    "pyro5": """
import Pyro5.api
@Pyro5.api.expose
class Source:
    def numbers(self, count):
        return (number for number in range(count))
Pyro5.config.ITER_STREAMING = True
daemon = Pyro5.api.Daemon(host="127.0.0.1")
print(daemon.register(Source()), flush=True)
daemon.requestLoop()
""",
}

CLIENTS = {
    "gpyro": """
from gpyro import core
proxy = core.getProxyForURI(sys.argv[2])
def stream(count):
    return sum(1 for _ in proxy.numbers(count))
def upload(count):
    return proxy.total(number for number in range(count))
""",
    "bare": """
from gevent import socket
file = socket.create_connection(("127.0.0.1", int(sys.argv[2]))).makefile("rwb", buffering=65536)
def stream(count):
    file.write(b"%d\\n" % count)
    file.flush()
    return sum(int(file.readline()) >= 0 for _ in range(count))
""",
    "pyro5": """
import Pyro5.api
proxy = Pyro5.api.Proxy(sys.argv[2])
def stream(count):
    return sum(1 for _ in proxy.numbers(count))
""",
}

ASKED = """
for line in sys.stdin:
    row, count = line.split()
    began = time.perf_counter()
    assert globals()[row](int(count)) == int(count)
    print(int(count) / (time.perf_counter() - began), flush=True)
"""


class Pair:
    """A server and its client, each a process; a context manager that ends them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Pair:
        server_core, client_core = cores()
        server = self._start(PINNED + SERVERS[self.kind], str(server_core))
        self._start(PINNED + CLIENTS[self.kind] + ASKED, str(client_core), self._line(server))
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

    def measure(self, row: str, items: int) -> float:
        """Items a second."""
        client = self._processes[-1]
        assert client.stdin is not None
        client.stdin.write(f"{row} {items}\n")
        client.stdin.flush()
        return float(self._line(client))

    def __exit__(self, *exception: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.communicate()


def measure(name: str, rounds: int, items: int) -> list[Row]:
    """The rows of a stream, or of an upload."""
    kinds = ["gpyro", "bare"]
    if name == "stream" and find_spec("Pyro5") is not None:
        kinds.append("pyro5")
    counts = {"gpyro": items, "bare": items, "pyro5": items // 10}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        pairs = {kind: stack.enter_context(Pair(kind)) for kind in kinds}
        for number in range(rounds + 1):
            print(f"{name}: round {number} of {rounds}", file=sys.stderr, flush=True)
            for kind in kinds:
                row = name if kind == "gpyro" else "stream"
                rate = pairs[kind].measure(row, counts[kind])
                if number:  # the first round warms up
                    rates[kind].append(rate)
    work = f"{name} of {items:,} small items"
    ratios = [own / bare for own, bare in zip(rates["gpyro"], rates["bare"], strict=True)]
    measured = f"{median(rates['gpyro']):,.0f} items/s; {spread(ratios)} times the bare loop"
    numbers: dict[str, Any] = {"items_per_second": rates}
    rows = [Row(work, measured, numbers=numbers)]
    if "pyro5" in rates:
        times = [own / other for own, other in zip(rates["gpyro"], rates["pyro5"], strict=True)]
        measured = f"{median(rates['pyro5']):,.0f} items/s; gpyro is {spread(times, '.0f')} times as fast"
        aim = f"at least {STREAM_AIM} times"
        rows.append(Row("the same with Pyro 5, a round trip for each item", measured, aim, median(times) >= STREAM_AIM))
    rows.append(Row("a bare gevent loop with as many lines", f"{median(rates['bare']):,.0f} lines/s"))
    return rows


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
        if unknown := [name for name in names if name not in ("stream", "upload")]:
            raise BenchmarkError(f"--rows knows stream, upload, not {', '.join(unknown)}")
        rounds = number(options["--rounds"], 1, 50, "--rounds")
        items = number(options["--items"], 1000, 10_000_000, "--items")
        rows = [row for name in names for row in measure(name, rounds, items)]
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps([asdict(row) for row in rows], indent=2) if options["--json"] else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
