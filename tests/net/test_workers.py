from __future__ import annotations

import contextvars
import gc
import sys
import weakref

import gevent
import gevent.local
import pytest
from gevent.event import Event
from greenlet import GreenletExit, getcurrent

from gpyro.net.workers import MAX_IDLE, Worker, WorkerPool
from tests.support import eventually, turns

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture
def pool():
    escaped = []
    made = WorkerPool(gevent.get_hub(), escaped.append)
    made.seen = escaped
    yield made
    made.close()
    turns(2)


def run(pool, *functions, tree_locals=None):
    """Run tasks one after the other, each when the one before has ended; gives the ids of their greenlets."""
    ids = []

    def start(function):
        def task(first, second):
            ids.append(id(getcurrent()))
            function()

        pool.hub.loop.run_callback(pool.start, (task, None, None, {} if tree_locals is None else tree_locals))

    for function in functions:
        start(function)
        expected = len(ids) + 1
        eventually(lambda expected=expected: len(ids) == expected)
        turns(1)
    return ids


def nothing():
    pass


def test_an_untouched_worker_is_used_again(pool):
    assert len(set(run(pool, *[nothing] * 20))) == 1
    assert len(pool.idle) == 1


def test_who_only_waits_is_not_busy(pool):
    seen, go_on = [], Event()

    def task(first, second):
        seen.append(pool.busy)
        with pool.waiting():
            seen.append(pool.busy)
            go_on.wait()
        seen.append(pool.busy)

    for _ in range(2):
        pool.hub.loop.run_callback(pool.start, (task, None, None, {}))
    eventually(lambda: len(seen) == 4)
    assert seen == [True, False] * 2
    assert not pool.busy
    go_on.set()
    eventually(lambda: len(seen) == 6)
    assert seen[4:] == [True, True]
    eventually(lambda: len(pool.idle) == 2)
    assert not pool.busy
    assert pool.patient == 0


def test_a_worker_that_waited_is_used_again(pool):
    assert len(set(run(pool, *[lambda: gevent.sleep(0)] * 5))) == 1


def test_a_task_gets_its_arguments(pool):
    got = []
    pool.hub.loop.run_callback(pool.start, (lambda first, second: got.append((first, second)), 1, 2, {}))
    turns(2)
    assert got == [(1, 2)]


def test_nothing_of_the_last_task_is_held(pool):
    class Thing:
        pass

    thing = Thing()
    alive = weakref.ref(thing)
    pool.hub.loop.run_callback(pool.start, (lambda first, second: None, thing, thing, {"key": thing}))
    turns(2)
    del thing
    gc.collect()
    assert alive() is None
    assert len(pool.idle) == 1


def test_tasks_that_overlap_have_workers_of_their_own(pool):
    seen = set()
    for _ in range(10):
        task = (lambda first, second: (seen.add(id(getcurrent())), gevent.sleep(0.005)), None, None, {})
        pool.hub.loop.run_callback(pool.start, task)
    eventually(lambda: len(pool.idle) == 10)
    assert len(seen) == 10


def test_idle_workers_are_bounded(pool):
    go = gevent.event.Event()
    done = []

    def task(first, second):
        go.wait()
        done.append(getcurrent().dead)

    for _ in range(MAX_IDLE + 50):
        pool.hub.loop.run_callback(pool.start, (task, None, None, {}))
    turns(2)
    go.set()
    eventually(lambda: len(done) == MAX_IDLE + 50)
    turns(2)
    assert len(pool.idle) == MAX_IDLE


# What one task must not leave to the next


def test_local_storage_of_greenlets(pool):
    local = gevent.local.local()
    seen = []

    def task():
        seen.append(getattr(local, "value", None))
        local.value = "left behind"

    run(pool, task, task, task)
    assert seen == [None] * 3


def test_context_variables(pool):
    seen = []

    def task():
        seen.append(VARIABLE.get())
        VARIABLE.set("left behind")
        gevent.sleep(0)
        seen.append(VARIABLE.get())

    run(pool, task, task, task)
    assert seen == ["unset", "left behind"] * 3
    assert VARIABLE.get() == "unset"


def test_context_variables_of_overlapping_tasks(pool):
    seen = []

    def task(number):
        VARIABLE.set(number)
        gevent.sleep(0.002)
        seen.append(VARIABLE.get() == number)

    for number in range(20):
        pool.hub.loop.run_callback(pool.start, (lambda first, second: task(first), number, None, {}))
    eventually(lambda: len(seen) == 20)
    assert all(seen)


def test_spawn_tree_locals(pool):
    seen = []

    def task():
        here = getcurrent().spawn_tree_locals
        child = gevent.spawn(lambda: dict(getcurrent().spawn_tree_locals))
        seen.append((dict(here), child.get()))
        here["left"] = "behind"

    run(pool, task, tree_locals={"call": 1})
    run(pool, task, tree_locals={"call": 2})
    assert seen == [({"call": 1}, {"call": 1}), ({"call": 2}, {"call": 2})]


def test_an_idle_worker_shows_no_tree_locals(pool):
    run(pool, nothing, tree_locals={"call": 1})
    assert pool.idle[0].spawn_tree_locals == {}


def test_an_attribute_on_the_greenlet(pool):
    seen = []

    def task():
        seen.append(getattr(getcurrent(), "mark", None))
        getcurrent().mark = "left behind"

    run(pool, task, task)
    assert seen == [None, None]


def test_a_weak_reference_means_another_greenlet(pool):
    kept = []
    ids = []

    def task():
        kept.append(weakref.ref(getcurrent()))
        ids.append(kept[0]() is getcurrent())

    run(pool, task, task)
    assert ids == [True, False]
    assert kept[0]() is None, "it was let go"


def test_a_reference_means_another_greenlet(pool):
    kept = []

    def task():
        kept.append(getcurrent())

    run(pool, task, task)
    turns(2)
    assert kept[0] is not kept[1]
    assert kept[0].dead, "a worker that cannot be used again is ended"


def test_a_forgotten_timeout_hits_nobody(pool, capsys):
    seen = []

    def forgetful():
        gevent.Timeout(0.02).start()

    def patient():
        gevent.sleep(0.06)
        seen.append("done")

    for function in (forgetful, patient, patient):
        pool.hub.loop.run_callback(pool.start, (lambda first, second: first(), function, None, {}))
    eventually(lambda: len(seen) == 2)
    assert pool.seen == []
    assert capsys.readouterr() == ("", "")


def test_a_forgotten_timeout_that_hits_an_idle_worker_loses_no_call(pool, capsys):
    fired = []

    class Loud(gevent.Timeout):
        def _on_expiration(self, prev, ex):
            fired.append(1)
            super()._on_expiration(prev, ex)

    run(pool, lambda: Loud(0.005).start())
    eventually(lambda: fired)
    assert len(run(pool, nothing, nothing)) == 2
    assert pool.seen == []
    assert capsys.readouterr() == ("", "")


def test_what_is_thrown_into_an_idle_worker_ends_only_that(pool, capsys):
    run(pool, nothing)
    pool.hub.loop.run_callback(pool.idle[0].throw, ValueError("stray"))
    turns(2)
    assert len(run(pool, nothing, nothing)) == 2
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), GreenletExit(), KeyboardInterrupt(), gevent.Timeout(), RecursionError()]
)
def test_an_exception_that_leaves_a_task_is_told_and_the_pool_goes_on(pool, error, capsys):
    def task():
        raise error

    run(pool, task, nothing)
    assert pool.seen == [error]
    assert len(run(pool, nothing)) == 1
    if isinstance(error, gevent.Timeout):
        error.close()
    assert capsys.readouterr() == ("", "")


def test_a_task_has_no_exception_of_another_under_way(pool):
    seen = []

    def failing():
        try:
            raise ValueError
        finally:
            gevent.sleep(0)

    run(pool, failing, lambda: seen.append(sys.exc_info()))
    assert seen == [(None, None, None)]


def test_closing_ends_idle_workers_now_and_the_others_later(pool):
    go = gevent.event.Event()
    workers = []
    run(pool, nothing)
    idle = weakref.ref(pool.idle[0])
    pool.hub.loop.run_callback(pool.start, (lambda first, second: (workers.append(getcurrent()), go.wait()), 0, 0, {}))
    turns(2)
    pool.close()
    gc.collect()
    assert idle() is None or idle().dead
    go.set()
    eventually(lambda: workers[0].dead)
    assert pool.idle == []
    assert isinstance(workers[0], Worker)
