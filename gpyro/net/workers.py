"""The greenlets that calls run in: pooled, and yet each as good as new.

A greenlet that is made anew for each call would halve the throughput. A reused one must not carry anything of one
call into the next: no `gevent.local`, no context variable, no spawn-tree local and no forgotten `gevent.Timeout`.
Whatever a call leaves behind in its greenlet shows as a reference, a weak reference or an attribute, so a worker goes
back to work only if it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from sys import getrefcount
from typing import Any, cast
from weakref import getweakrefcount

from gevent.hub import Hub
from greenlet import getcurrent, greenlet

Task = tuple[Callable[[Any, Any], None], Any, Any, dict[Any, Any]]
"""A function, its two arguments, and what become the task's `spawn_tree_locals`, which greenlets it spawns inherit."""

MAX_IDLE = 256
"""Idle workers kept per hub: each costs about 10 KiB of stack, and more calls than that seldom start in one turn."""

_switch_to = greenlet.switch
_numbers = count(1)


class Worker(greenlet):
    """A greenlet that runs one task after another.

    Each with empty context variables and spawn-tree locals of its own.
    """

    __slots__ = ("name", "pool", "spawn_tree_locals")

    spawn_tree_locals: dict[Any, Any]

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(self.run_tasks, pool.hub)
        self.name = f"worker-{next(_numbers)}"  # for logs
        self.pool: WorkerPool | None = pool

    def throw(self, *arguments: Any) -> Any:
        """As a greenlet's; what comes for a call that is over, such as its forgotten Timeout, is dropped."""
        if self.dead:
            return None
        return super().throw(*arguments)

    def run_tasks(self) -> None:
        """The worker's body: it is handed a task at each switch, and None when it is to end.

        Except at the first, since a greenlet holds the arguments of that for as long as it lives.
        """
        pool = self.pool
        assert pool is not None
        pool.alive += 1
        try:
            self._run_tasks(pool)
        finally:
            pool.alive -= 1
            self.pool = None
            self.gr_context = None

    def _run_tasks(self, pool: WorkerPool) -> None:
        hub, idle = pool.hub, pool.idle
        task: Task | None = _switch_to(hub)
        while task is not None:
            self.spawn_tree_locals = task[3]
            try:
                task[0](task[1], task[2])
            except BaseException as error:
                pool.escaped(error)
            if len(idle) >= pool.max_idle:
                break
            # An empty context is made for the next task's first ContextVar.set; None is what a new greenlet has.
            self.gr_context = None
            self.spawn_tree_locals = _NOTHING
            task = None  # an idle worker holds nothing of its last call
            idle.append(self)
            try:
                task = _switch_to(hub)
            except BaseException:
                # Something was thrown into an idle worker: the pool finds it dead and takes another.
                break


_NOTHING: dict[Any, Any] = {}


class WorkerPool:
    """The workers of one hub.

    Attributes:
        hub: the hub.
        idle: the workers that wait for a task.
        max_idle: how many of them are kept.
        escaped: is told what a task let out, which none should.
        alive: the workers that there are.
        patient: how many of them are in `waiting`.
    """

    def __init__(self, hub: Hub, escaped: Callable[[BaseException], None]) -> None:
        """`escaped` is told what a task let out, which none should."""
        self.hub = hub
        self.idle: list[Worker] = []
        self.escaped = escaped
        self.max_idle = MAX_IDLE
        self.alive = self.patient = 0

    @property
    def busy(self) -> bool:
        """Whether a task runs, or waits for something, other than in `waiting`."""
        return self.alive > len(self.idle) + self.patient

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block in which a task only waits for another one, or for the end of a time that need not be exact."""
        self.patient += 1
        try:
            yield
        finally:
            self.patient -= 1

    def start(self, task: Task) -> None:
        """Run a task in a worker; returns when it ends or first blocks. Only from the hub."""
        idle = self.idle
        while idle:
            worker = idle.pop()
            # A dead one, too, has another number of references: its frame is gone.
            if getrefcount(worker) == _IDLE_REFERENCES and not worker.__dict__ and not getweakrefcount(worker):
                break
            if not worker.dead:
                worker.switch(None)
        else:
            worker = Worker(self)
            worker.switch()
        worker.switch(task)

    def close(self) -> None:
        """End the idle workers, and the others when their task ends."""
        self.max_idle = 0
        while self.idle:
            worker = self.idle.pop()
            if not worker.dead:
                worker.parent = getcurrent()  # whoever closes the pool goes on when the worker has ended
                worker.switch(None)


def _idle_references() -> int:
    """How many references an untouched idle worker has when `WorkerPool.start` looks at it: measured, not guessed."""
    counts: list[int] = []

    class Probe(WorkerPool):
        def look(self) -> None:
            worker = self.idle.pop()
            counts.append(getrefcount(worker))
            worker.switch(None)

    def measure() -> None:
        probe = Probe.__new__(Probe)
        probe.hub = cast(Hub, getcurrent())
        probe.idle, probe.max_idle, probe.escaped, probe.alive = [], 1, lambda error: None, 0
        probe.start((lambda first, second: None, None, None, {}))
        probe.look()

    greenlet(measure).switch()
    return counts[0]


_IDLE_REFERENCES = _idle_references()
