"""Put load on something from many greenlets and tell how fast it answered.

`Load` runs any callables, each again and again in a greenlet of its own, for a time or for a number of calls. The echo
server's load mode, the demo and the benchmarks all measure with it, so their numbers mean the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from shutil import get_terminal_size
from time import perf_counter, perf_counter_ns
from typing import Any, Final, TextIO

import gevent
from gevent.event import Event

# How long callers may take to come back once the time is over; those still out are given up and counted.
GRACE: Final = 5.0
# Kinds of errors that are told apart; a server that invents a class per answer must not fill the memory.
ERROR_KINDS: Final = 20


class Histogram:
    """Counts of times, in about 4,500 buckets of at most 0.8 % width, so any percentile is right to 0.4 %.

    Up to 256 ns each value has its own bucket; above, every doubling is cut into 128 equal buckets. The memory is the
    same for ten values and for ten thousand million.
    """

    __slots__ = ("_counts", "maximum")

    # Times are capped here: 2**42 ns, 73 minutes, longer than any load may last.
    LONGEST: Final = (1 << 42) - 1

    def __init__(self) -> None:
        self._counts = [0] * (self._bucket(self.LONGEST) + 1)
        self.maximum = 0

    @staticmethod
    def _bucket(nanoseconds: int) -> int:
        shift = nanoseconds.bit_length() - 8
        return (shift << 7) + (nanoseconds >> shift) if shift > 0 else nanoseconds

    def record(self, nanoseconds: int) -> None:
        """Count one time."""
        if nanoseconds > self.maximum:
            if nanoseconds > self.LONGEST:
                nanoseconds = self.LONGEST
            self.maximum = nanoseconds
        # `_bucket` written out: this stands on the measured path, and a call would double its cost.
        shift = nanoseconds.bit_length() - 8
        if shift > 0:
            self._counts[(shift << 7) + (nanoseconds >> shift)] += 1
        else:
            self._counts[nanoseconds] += 1

    def clear(self) -> None:
        """Forget everything recorded."""
        self._counts[:] = [0] * len(self._counts)  # in place: callers hold `record`
        self.maximum = 0

    def __len__(self) -> int:
        return sum(self._counts)

    def percentile(self, percent: float) -> int:
        """The time in nanoseconds that `percent` of the values did not exceed; 0 when nothing was recorded."""
        total = len(self)
        if not total:
            return 0
        rank = max(1, ceil(total * percent / 100))  # rounded up: the 99th of 10 values is the tenth
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(self._middle(bucket), self.maximum)
        return self.maximum

    @staticmethod
    def _middle(bucket: int) -> int:
        if bucket < 256:
            return bucket
        shift = (bucket >> 7) - 1
        return ((bucket - (shift << 7)) << shift) + (1 << shift >> 1)


@dataclass
class Measurement:
    """What came out of one load."""

    calls: int
    seconds: float
    times: Histogram
    errors: dict[str, int] = field(default_factory=dict)
    first_error: str = ""
    given_up: int = 0

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return self.calls / self.seconds if self.seconds > 0 else 0.0

    @property
    def milliseconds(self) -> dict[str, float]:
        """The latency: its percentiles and its maximum."""
        percentiles = {f"p{percent:g}": self.times.percentile(percent) / 1e6 for percent in (50, 99, 99.9)}
        return {**percentiles, "max": self.times.maximum / 1e6}

    def as_dict(self) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "calls": self.calls,
            "seconds": round(self.seconds, 3),
            "calls_per_second": round(self.rate, 1),
            "latency_ms": {name: round(value, 4) for name, value in self.milliseconds.items()},
            "errors": dict(self.errors),
            "first_error": self.first_error,
            "given_up": self.given_up,
        }

    def __str__(self) -> str:
        lines = [f"{self.calls:,} calls in {self.seconds:.2f} s: {self.rate:,.0f} calls/s"]
        if self.calls:
            lines.append("latency " + ", ".join(f"{name} {ms:.3f} ms" for name, ms in self.milliseconds.items()))
        kinds = ", ".join(f"{name} {count:,}" for name, count in self.errors.items())
        lines.append(f"errors: {kinds} (the first: {self.first_error})" if kinds else "errors: none")
        if self.given_up:
            lines.append(f"calls without an answer {GRACE:.0f} s after the end: {self.given_up:,}")
        return "\n".join(lines)


class Load:
    """Runs each of `calls` again and again in a greenlet of its own.

    An answer other than `expected` counts as the error "wrong answer". A caller that meets errors in a row waits longer
    from one to the next, up to a second: a dead server is not hammered.
    """

    def __init__(self, calls: Sequence[Callable[[], object]], expected: object = None) -> None:
        self._calls, self._expected = calls, expected
        self._left = self._active = 0
        self._stopping = Event()
        self._all_back = Event()
        self._result = Measurement(0, 0.0, Histogram())

    def stop(self) -> None:
        """End early: no further call is begun. Belongs to the hub's thread; `run` then returns what was measured."""
        self._left = 0
        self._stopping.set()
        self._all_back.set()

    def run(
        self,
        seconds: float,
        limit: int = sys.maxsize,
        warm_up: float = 0.0,
        progress: Callable[[float, int], object] | None = None,
    ) -> Measurement:
        """Load until `seconds` are over, `limit` calls were made or `stop` was called; at most once per instance.

        The first `warm_up` seconds are not counted. `progress` is told the seconds gone and the right answers so far,
        about five times a second.
        """
        result = self._result
        if self._stopping.is_set():
            return result
        self._left = limit
        self._active = len(self._calls)
        start = perf_counter()
        callers = [gevent.spawn(self._caller, call) for call in self._calls]
        try:
            if warm_up and not self._all_back.wait(warm_up):
                result.times.clear()
                start = perf_counter()
            while (left := start + seconds - perf_counter()) > 0 and not self._all_back.wait(min(left, 0.2)):
                if progress:
                    progress(perf_counter() - start, len(result.times))
            result.seconds, result.calls = perf_counter() - start, len(result.times)
            self.stop()
            gevent.joinall(callers, timeout=GRACE)
            result.given_up = sum(not caller.dead for caller in callers)
            if not result.given_up:  # every answer came: they all count, up to the last
                result.seconds, result.calls = perf_counter() - start, len(result.times)
        finally:
            gevent.killall(callers, timeout=GRACE)
        return result

    def _caller(self, call: Callable[[], object]) -> None:
        expected, record, clock = self._expected, self._result.times.record, perf_counter_ns
        failures = 0
        while self._left > 0:
            self._left -= 1
            start = clock()
            try:
                answer = call()
                took = clock() - start
                if answer != expected:
                    self._failed("wrong answer", f"wrong answer, of type {type(answer).__name__}")
                    continue
            except Exception as error:
                self._failed(type(error).__name__, f"{type(error).__name__}: {error}")
                self._stopping.wait(min(1.0, 0.01 * 2**failures))
                failures = min(failures + 1, 10)
            else:
                record(took)
                failures = 0
        self._active -= 1
        if not self._active:
            self._all_back.set()

    def _failed(self, kind: str, text: str) -> None:
        result, errors = self._result, self._result.errors
        result.first_error = result.first_error or text[:500]
        if kind not in errors and len(errors) >= ERROR_KINDS:
            kind = "others"
        errors[kind] = errors.get(kind, 0) + 1


class Progress:
    """A bar on a terminal, rewritten in place; elsewhere at most one plain line a second."""

    def __init__(self, seconds: float, limit: int = 0, stream: TextIO | None = None) -> None:
        self._seconds, self._limit = seconds, limit
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._next = 1.0

    def __call__(self, gone: float, calls: int) -> None:
        """Show how far it is."""
        share = min(1.0, max(gone / self._seconds, calls / self._limit if self._limit else 0.0))
        text = f"{gone:5.1f} of {self._seconds:g} s  {calls / gone if gone else 0:10,.0f} calls/s"
        if self._terminal:
            width = max(10, min(40, get_terminal_size().columns - len(text) - 5))
            filled = round(share * width)
            self._write(f"\r[{'#' * filled}{'-' * (width - filled)}] {text}")
        elif gone >= self._next:
            self._next = int(gone) + 1.0
            self._write(text.strip() + "\n")

    def close(self) -> None:
        """Take the bar away again."""
        if self._terminal:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
