from __future__ import annotations

import threading
import time
from typing import Any

import gevent
import pytest
from gevent._hub_local import get_hub_if_exists

from gpyro.locks import Event, Lock, RLock
from tests.support import eventually, run_python, turns


def in_thread(work: Any) -> Any:
    """What `work` gives in a thread that has no loop, while the loop of this thread turns."""
    results = []

    def run() -> None:
        results.append(work())
        assert get_hub_if_exists() is None

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: not thread.is_alive())
    return results[0]


# ---- locks


def test_a_lock_is_held_by_one() -> None:
    lock = Lock()
    assert not lock.locked()
    assert lock.acquire()
    assert lock.locked()
    assert not lock.acquire(False)
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=0)
    assert not lock.acquire(timeout=0.001)
    lock.release()
    with lock as held:
        assert held
        assert lock.locked()
    assert not lock.locked()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()


def test_those_who_wait_get_it_in_their_order() -> None:
    lock, got = Lock(), []

    def work(number: int) -> None:
        with lock:
            got.append(number)
            gevent.sleep(0)

    with lock:
        waiting = [gevent.spawn(work, number) for number in range(5)]
        turns()
        assert got == []
    gevent.joinall(waiting)
    assert got == [0, 1, 2, 3, 4]


def test_anybody_may_release_it() -> None:
    lock = Lock()
    lock.acquire()
    gevent.spawn(lock.release).join()
    assert not lock.locked()
    lock.acquire()
    in_thread(lock.release)
    assert not lock.locked()


def test_those_who_leave_make_room() -> None:
    lock, got = Lock(), []

    def work(number: int) -> None:
        with lock:
            got.append(number)

    def hasty() -> None:
        with gevent.Timeout(0.001, False):
            work(-1)

    with lock:
        waiting = [gevent.spawn(work, 0), gevent.spawn(hasty), gevent.spawn(work, 1), gevent.spawn(work, 2)]
        turns()
        waiting[2].kill()
        gevent.sleep(0.005)
    gevent.joinall(waiting)
    assert got == [0, 2]
    assert not lock.locked()


def test_one_who_is_killed_when_it_is_his_hands_it_on() -> None:
    lock, got = Lock(), []

    def work(number: int) -> None:
        with lock:
            got.append(number)

    lock.acquire()
    waiting = [gevent.spawn(work, number) for number in range(2)]
    turns()
    lock.release()  # to the first, which has not run yet
    waiting[0].kill(block=False)
    gevent.joinall(waiting)
    assert got in ([1], [0, 1])
    assert not lock.locked()


def test_a_thread_without_a_loop_waits_too() -> None:
    lock = Lock()
    lock.acquire()
    assert in_thread(lambda: lock.acquire(False)) is False
    assert in_thread(lambda: lock.acquire(timeout=0.01)) is False
    gevent.spawn_later(0.01, lock.release)
    assert in_thread(lock.acquire) is True
    assert lock.locked()


@pytest.mark.parametrize("patching", ["unpatched", "patched"])
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_greenlets_of_several_threads_take_turns(patching: str, kind: str) -> None:
    """Also where the main thread goes away from its loop, and where threads end before the others."""
    code = """
        import sys
        if sys.argv[1] == "patched":
            from gevent import monkey
            monkey.patch_all()
        import threading
        import gevent
        from gpyro import locks
        lock = getattr(locks, sys.argv[2])()
        count = 0
        def work(times):
            global count
            for _ in range(times):
                with lock:
                    seen = count
                    gevent.sleep(0)
                    count = seen + 1
        def several(times):
            gevent.joinall([gevent.spawn(work, times) for _ in range(3)])
        def plain():
            global count
            for _ in range(50):
                with lock:
                    count += 1
        for _ in range(10):
            threads = [threading.Thread(target=several, args=(times,)) for times in (5, 10, 15)]
            threads.append(threading.Thread(target=plain))
            for thread in threads:
                thread.start()
            several(10)
            for thread in threads:
                thread.join()
        print(count)
        """
    assert run_python(code, patching, kind) == (0, f"{10 * (3 * (5 + 10 + 15 + 10) + 50)}\n", "")


# ---- locks that may be taken again


def test_the_greenlet_that_holds_it_may_take_it_again() -> None:
    lock = RLock()
    with lock, lock:
        assert lock.acquire(False)
        assert gevent.spawn(lock.acquire, False).get() is False
        assert in_thread(lambda: lock.acquire(False)) is False
        lock.release()
        assert gevent.spawn(_is_refused, lock).get()
    assert gevent.spawn(lock.acquire, False).get() is True


def _is_refused(lock: RLock) -> bool:
    with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
        lock.release()
    return True


# ---- events


def test_an_event_lets_all_go_on() -> None:
    event = Event()
    assert (event.is_set(), event.isSet()) == (False, False)
    assert event.wait(0) is False
    assert event.wait(-1) is False
    assert event.wait(0.001) is False
    waiting = [gevent.spawn(event.wait, 30) for _ in range(5)]
    turns()
    waiting.pop().kill()
    event.set()
    gevent.joinall(waiting)
    assert [one.value for one in waiting] == [True] * 4
    assert event.wait() is True
    event.clear()
    assert not event.is_set()
    assert event.wait(0) is False
    assert event._waiting == []


def test_an_event_is_set_from_and_for_threads() -> None:
    event = Event()
    begin = time.monotonic()
    waiting = gevent.spawn(event.wait, 30)
    turns()
    in_thread(event.set)
    assert waiting.get() is True
    event.clear()
    assert in_thread(lambda: event.wait(0.001)) is False
    gevent.spawn_later(0.01, event.set)
    assert in_thread(lambda: event.wait(30)) is True
    assert time.monotonic() < begin + 30
