"""How precise deadlines are, and how soon a call whose caller left is over on the server.

Usage:
  deadlines.py [--rows NAMES] [--calls N] [--json]
  deadlines.py -h | --help

Options:
  --rows NAMES  which rows, with commas: deadline, chain, cancel [default: deadline,chain,cancel]
  --calls N     calls of each row, 100 to 100000 [default: 5000]
  --json        print the numbers as JSON
  -h --help     this text

Servers run in processes of their own. Calls have deadlines of 10 ms to 2 s, evenly spread, in random order and all at
once; overshoot is how much later than its deadline a caller goes on. A chain is three servers that wait for each
other, of which none may go on for longer than the first caller waits.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import gevent
from docopt import DocoptExit, docopt
from report import Row, table

import gpyro
from gpyro import core, errors

SERVER = """
import sys, time, gevent
from gpyro import config, core
config.PYRO_MAX_CALLS = 200_000
class Thing(core.ObjBase):
    def __init__(self, uri):
        core.ObjBase.__init__(self)
        self.next = core.getProxyForURI(uri) if uri else None
        self.running = self.ended_last = 0
    def wait(self):
        self.running += 1
        try:
            self.next.wait() if self.next else gevent.sleep(60)
        finally:
            self.running -= 1
            self.ended_last = time.time()
    def state(self):
        return self.running, self.ended_last
    def echo(self, value):
        return value
daemon = core.Daemon(port=0, norange=1)
print(daemon.connect(Thing(sys.argv[1] if len(sys.argv) > 1 else "")), flush=True)
daemon.requestLoop()
"""


class Server:
    """A server process."""

    def __init__(self, then: str = "") -> None:
        self._process = subprocess.Popen([sys.executable, "-c", SERVER, then], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.uri = self._process.stdout.readline().strip()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def deadline(calls: int) -> Row:
    """Many calls at once, each with a deadline of its own."""
    with Server() as server:
        proxy = core.getProxyForURI(server.uri)
        assert proxy.echo(1) == 1
        over: list[float] = []

        def call(seconds: float) -> None:
            began = time.monotonic()
            try:
                with gpyro.deadline(seconds):
                    proxy.wait()
            except errors.TimeoutError:
                over.append(time.monotonic() - began - seconds)

        gevent.joinall([gevent.spawn(call, seconds) for seconds in _spread(0.01, calls)])
        gevent.sleep(0.1)
        running, _ = proxy.state()
        proxy._release()
    return _row(f"{calls:,} deadlines of 10 ms to 2 s at once", over, running, calls)


def chain(calls: int) -> Row:
    """Chains over three servers."""
    with Server() as last, Server(last.uri) as middle, Server(middle.uri) as first:
        proxy = core.getProxyForURI(first.uri)
        over: list[float] = []

        def call(seconds: float) -> None:
            began = time.monotonic()
            try:
                with gpyro.deadline(seconds):
                    proxy.wait()
            except errors.TimeoutError:
                over.append(time.monotonic() - began - seconds)

        gevent.joinall([gevent.spawn(call, seconds) for seconds in _spread(0.1, calls)])
        ended = time.time()
        gevent.sleep(0.1)
        states = [core.getProxyForURI(one.uri).state() for one in (first, middle, last)]
        proxy._release()
    row = _row(f"{calls:,} chains over three servers", over, sum(running for running, _ in states), calls)
    outlived = max(0.0, *(when - ended for _, when in states))
    row.measured += f"; the last server ended {outlived * 1000:.1f} ms after the last caller"
    row.numbers["outlived_ms"] = outlived * 1000
    return row


def cancel(calls: int) -> Row:
    """Callers that are killed at any moment."""
    chance = random.Random(7)
    with Server() as server:
        proxy = core.getProxyForURI(server.uri)
        assert proxy.echo(1) == 1
        callers = []
        for _ in range(calls):
            caller = gevent.spawn(proxy.wait)
            gevent.spawn_later(chance.random() * 2, caller.kill, block=False)
            callers.append(caller)
        gevent.joinall(callers)
        gevent.sleep(0.1)
        running, _ = proxy.state()
        right = proxy.echo("next") == "next"
        proxy._release()
    numbers = {"still_running": running, "next_call_right": right}
    measured = f"{running} still run after 100 ms; the next call is {'right' if right else 'WRONG'}"
    return Row(f"{calls:,} callers killed", measured, "0 still run", running == 0 and right, numbers)


def _spread(first: float, calls: int) -> list[float]:
    """Deadlines from `first` to 2 seconds, in random order."""
    seconds = [first + (2 - first) * number / calls for number in range(calls)]
    random.Random(7).shuffle(seconds)
    return seconds


def _row(work: str, over: list[float], running: int, calls: int) -> Row:
    over.sort()
    early = sum(one < 0 for one in over)
    p99 = over[int(len(over) * 0.99)] * 1000
    numbers: dict[str, Any] = {"timed_out": len(over), "early": early, "p99_ms": p99, "still_running": running}
    measured = (
        f"overshoot p50 {over[len(over) // 2] * 1000:.1f} ms, p99 {p99:.1f} ms; {early} early; {running} still run"
    )
    met = len(over) == calls and early == 0 and p99 <= 20 and running == 0
    return Row(work, measured, "p99 at most 20 ms, 0 early, 0 still run after 100 ms", met, numbers)


ROWS = {"deadline": deadline, "chain": chain, "cancel": cancel}


def main() -> int:
    """Run the rows that the command line names."""
    try:
        options = docopt(__doc__ or "")
    except DocoptExit as usage:
        print(usage, file=sys.stderr)
        return 2
    names, calls = options["--rows"].split(","), options["--calls"]
    unknown = set(names) - set(ROWS)
    if unknown or not calls.isdecimal() or not 100 <= int(calls) <= 100_000:
        print(f"--rows knows {', '.join(ROWS)}; --calls is a number from 100 to 100000", file=sys.stderr)
        return 2
    gpyro.config.PYRO_MAX_CALLS = 200_000
    rows = []
    try:
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows.append(ROWS[name](int(calls)))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(json.dumps([asdict(row) for row in rows], indent=1) if options["--json"] else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
