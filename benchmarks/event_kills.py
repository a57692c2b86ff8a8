"""The rows of `events.py` in which processes are killed: whether losses are told of, and how long coming back takes."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

import gevent
from event_histories import Attempt, Fault, Life, Missed, Stream, attempts_of, faults, life_of
from event_kill_programs import CONSUMER, EVENT_SERVER, NAME_SERVER, PUBLISHER
from processes import PINNED, BenchmarkError, Program
from report import Measure, at_most
from rows import Plan, place

from gpyro import config
from gpyro.errors import NamingError, ProtocolError
from gpyro.eventsvc import Publisher

PATIENCE = 60.0
"""Seconds that nothing may go on for."""

SUBJECTS = ("red", "green", "blue")

UNTIL_SLOW = 200
"""Events after which a consumer that is slow now and then is so."""


@dataclass(frozen=True)
class Taste:
    """What a consumer subscribes to, and how: a queue of so many events, and after how many events it is slow."""

    name: str
    subjects: tuple[str, ...] = ()
    policy: str = ""
    room: int = 1000
    threading: int = 0
    pace: int = 1_000_000


TASTES = (
    Taste("quick"),
    Taste("oldest", (), "oldest", 50, 0, UNTIL_SLOW),
    Taste("beside", ("red", "blue"), "oldest", 1000, 1, 10),
    Taste("newest", ("red", "green"), "newest", 50, 0, UNTIL_SLOW),
    Taste("block", ("green",), "block", 50, 0, UNTIL_SLOW),
    Taste("disconnect", (), "disconnect", 100, 0, UNTIL_SLOW),
)
"""The consumers: some are slow now and then, and have little room."""


@contextmanager
def name_server(directory: str) -> Iterator[dict[str, object]]:
    """A name server, and the items by which others find it; this process does, too."""
    items: dict[str, object] = {"NS_PORT": 0, "STORAGE": directory, "ES_BLOCKTIME": 0.05}
    before = config.snapshot()
    try:
        with Program(PINNED + NAME_SERVER, None, **items) as program:
            (uri,) = program.ready()
            port = int(uri.rpartition("/")[0].rpartition(":")[2])
            config.PYRO_NS_HOSTNAME, config.PYRO_NS_PORT = "127.0.0.1", port
            yield {**items, "NS_PORT": port, "NS_HOSTNAME": "127.0.0.1"}
    finally:
        object.__setattr__(config, "_settings", before)


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Wait until that is so. Raises BenchmarkError: it was not, for too long."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise BenchmarkError(f"{what}: not within {PATIENCE:.0f} s")
        gevent.sleep(0.01)


class Tail:
    """A file that others append to: what of it was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = ""
        path.touch()
        self._file = path.open("rb")

    def read(self) -> str:
        """What is new."""
        new = self._file.read().decode()
        self.text += new
        return new

    def close(self) -> None:
        """Read no more."""
        self._file.close()


class Scene:
    """The processes, their lives, and what they have written down."""

    def __init__(self, directory: str, stack: ExitStack, items: dict[str, object], count: int, plan: Plan) -> None:
        self._directory, self._stack, self._items = directory, stack, items
        publishers = max(2, plan.count(10))
        tastes = TASTES[: max(3, plan.count(len(TASTES)))]
        self._each = -(-count // publishers)
        self._server = self._start_server()
        self._server.ready()
        self.lives: list[tuple[Taste, Tail]] = []
        self._consumers = [self._start_consumer(taste) for taste in tastes]
        wait_until("consumers subscribe", lambda: all("subscribed" in self._read(tail) for _, tail in self.lives))
        self._tails: list[tuple[int, Tail]] = []
        self.done = [0] * publishers
        self._life = [0] * publishers
        self._publishers = [self._start_publisher(number) for number in range(publishers)]

    @staticmethod
    def _read(tail: Tail) -> str:
        tail.read()
        return tail.text

    def _start(self, code: str, *arguments: object) -> Program:
        return self._stack.enter_context(Program(PINNED + code, None, *arguments, **self._items))

    def _tail(self, name: str) -> Tail:
        tail = Tail(Path(self._directory, name))
        self._stack.callback(tail.close)
        return tail

    def _start_server(self) -> Program:
        return self._start(EVENT_SERVER)

    def _start_consumer(self, taste: Taste) -> Program:
        tail = self._tail(f"{taste.name}.{len(self.lives)}")
        self.lives.append((taste, tail))
        subjects = ",".join(taste.subjects) or "*"
        return self._start(CONSUMER, tail.path, subjects, taste.policy, taste.room, taste.threading, taste.pace)

    def _start_publisher(self, number: int) -> Program:
        life = self._life[number]
        tail = self._tail(f"publisher{number}.{life}")
        self._tails.append((number, tail))
        left = self._each - self.done[number]
        return self._start(PUBLISHER, tail.path, number, life, ",".join(SUBJECTS), left)

    def progress(self) -> int:
        """How many events are acknowledged by now."""
        for number, tail in self._tails:
            self.done[number] += tail.read().count("done ")
        return sum(self.done)

    @property
    def over(self) -> bool:
        """Whether all publishers have done their part."""
        return all(publisher.process.poll() is not None for publisher in self._publishers)

    def strike(self, what: str, chance: random.Random) -> None:
        """Kill one of a kind, and start it again; or cut its connection."""
        if what == "server":
            kill(self._server)
            self._server = self._start_server()
            return
        if what == "publisher":
            number = chance.randrange(len(self._publishers))
            kill(self._publishers[number])
            self.progress()
            self._life[number] += 1
            self._publishers[number] = self._start_publisher(number)
            return
        number = chance.randrange(len(self._consumers))
        taste, tail = self.lives_of(number)
        if what == "consumer":
            kill(self._consumers[number])
            self._consumers[number] = self._start_consumer(taste)
        elif "subscribed" in self._read(tail):  # else it does not know of the signal yet
            self._consumers[number].process.send_signal(signal.SIGUSR1)

    def lives_of(self, number: int) -> tuple[Taste, Tail]:
        """The life that one of the consumers has now."""
        name = TASTES[number].name
        return next((taste, tail) for taste, tail in reversed(self.lives) if taste.name == name)

    def last_events(self) -> dict[Stream, list[Attempt]]:
        """Publish until all living consumers have some of it on each of their subjects; gives what that was."""
        publisher = Publisher()
        living = [self.lives_of(number) for number in range(len(self._consumers))]
        found: dict[Stream, list[Attempt]] = {Stream("end", 0, subject): [] for subject in SUBJECTS}
        until = time.monotonic() + PATIENCE
        for sequence in range(1_000_000):
            for subject in SUBJECTS:
                began = time.monotonic()
                try:
                    publisher.publish(subject, ("end", 0, sequence))
                    ended = Attempt(sequence, began, time.monotonic(), "done")
                except (NamingError, ProtocolError) as error:
                    maybe = getattr(error, "may_have_run", False)
                    ended = Attempt(sequence, began, time.monotonic(), "maybe" if maybe else "never")
                found[Stream("end", 0, subject)].append(ended)
            awaited = time.monotonic() + 1
            while time.monotonic() < awaited:
                # Of each subject, or there may still be some on their way.
                texts = [(taste, self._read(tail)[-10_000:]) for taste, tail in living]
                if all(
                    f"end 0 {one} {sequence} " in text for taste, text in texts for one in taste.subjects or SUBJECTS
                ):
                    return found
                gevent.sleep(0.01)
            if time.monotonic() > until:
                names = [taste.name for taste, text in texts if "end 0" not in text]
                raise BenchmarkError(f"no last events at the consumers: {', '.join(names)}")
        raise AssertionError

    def faults(self, end: dict[Stream, list[Attempt]]) -> tuple[list[Fault], list[Life], list[Attempt]]:
        """What does not fit; and all that there is."""
        attempts: dict[Stream, list[Attempt]] = dict(end)
        for number, tail in self._tails:
            attempts.update(attempts_of(str(number), self._read(tail)))
        living = [self.lives_of(number)[1] for number in range(len(self._consumers))]
        lives = []
        for taste, tail in self.lives:
            subjects = frozenset(taste.subjects) or None
            life = life_of(taste.name, subjects, not taste.threading, self._read(tail), tail in living)
            if life is not None:
                lives.append(life)
        return list(faults(attempts, lives)), lives, [one for those in attempts.values() for one in those]


def kill(program: Program) -> None:
    """Kill a process, without a word."""
    program.process.kill()
    program.process.wait()


def _strikes(plan: Plan, count: int, chance: random.Random) -> list[tuple[int, str]]:
    """After how many acknowledged events something is done, and what; each kind at least once."""
    number = max(4, plan.count(100))
    kinds = ["server", "publisher", "consumer", "connection"] * -(-number // 4)
    chance.shuffle(kinds)
    return list(zip(sorted(chance.randrange(count) for _ in range(len(kinds))), kinds, strict=True))


def kill_row(plan: Plan) -> list[Measure]:
    """Publishers, event servers and consumers that are killed, and connections cut, while events are published."""
    chance = random.Random(plan.seed)
    count = plan.count(100_000)
    strikes = _strikes(plan, count, chance)
    with place(plan) as directory, name_server(directory) as items, ExitStack() as stack:
        scene = Scene(directory, stack, items, count, plan)
        last, moved = 0, time.monotonic()
        left = iter([*strikes, (count * 2, "")])
        at, what = next(left)
        while not scene.over:
            progress = scene.progress()
            if progress > last:
                last, moved = progress, time.monotonic()
            elif time.monotonic() > moved + PATIENCE:
                raise BenchmarkError(f"no event was published for {PATIENCE:.0f} s (seed {plan.seed})")
            if progress >= at:
                scene.strike(what, chance)
                at, what = next(left)
            gevent.sleep(0.005)
        found, lives, attempts = scene.faults(scene.last_events())
    return _measures(plan, found, lives, attempts, Counter(what for _, what in strikes))


def _measures(
    plan: Plan, found: list[Fault], lives: list[Life], attempts: list[Attempt], struck: Counter[str]
) -> list[Measure]:
    kinds = Counter(one.kind for one in found)
    done = sum(one.verdict == "done" for one in attempts)
    gaps = [one.count for life in lives for one in life.told if isinstance(one, Missed)]
    counted = [count for count in gaps if count is not None]
    longest = max(one.ended - one.began for one in attempts if one.ended < inf)
    for one in found[:20]:
        print(f"{one.kind}: {one.text}", file=sys.stderr)
    what = ", ".join(f"{struck[name]} of a {name}" for name in ("server", "publisher", "consumer"))
    return [
        at_most(
            "D5",
            f"{done:,} events acknowledged, kills: {what}; seed {plan.seed}: lost in silence",
            kinds["lost"],
            "",
            0,
        ),
        at_most("D5", "events that came twice", kinds["twice"], "", 0),
        at_most("D5", "events out of order", kinds["disorder"], "", 0),
        at_most("D5", "events that came and were said never to have been sent", kinds["untrue"], "", 0),
        at_most("D5", f"{len(counted):,} of {len(gaps):,} gaps have a count: wrong ones", kinds["count"], "", 0),
        Measure("D5", "events in the gaps with a count", sum(counted)),
        Measure("D5", "longest wait of a publisher for its answer", longest, "s"),
    ]
