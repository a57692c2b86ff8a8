from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from gpyro.stores.native_thread import NativeThread
from tests.support import eventually, run_python


@pytest.fixture
def thread() -> Iterator[NativeThread]:
    thread = NativeThread()
    yield thread
    thread.stop()


def test_functions_run_there_one_after_the_other(thread: NativeThread) -> None:
    here = threading.get_ident()
    running: list[int] = []
    most: list[int] = []

    def work(number: int) -> tuple[int, int]:
        running.append(number)
        most.append(len(running))
        running.pop()
        return threading.get_ident(), number

    answers = [gevent.spawn(thread.run, work, number) for number in range(5)]
    gevent.joinall(answers, 10, raise_error=True)
    found = [answer.get() for answer in answers]
    assert [number for _, number in found] == [0, 1, 2, 3, 4]
    assert len({ident for ident, _ in found} - {here}) == 1
    assert max(most) == 1


def test_the_loop_goes_on_meanwhile(thread: NativeThread) -> None:
    go_on, turned = threading.Event(), []
    waiting = gevent.spawn(thread.run, go_on.wait, 10)
    gevent.spawn(turned.append, 1)
    eventually(lambda: turned)
    assert not waiting.ready()
    go_on.set()
    assert waiting.get(timeout=30)


def test_what_a_function_raises_is_raised(thread: NativeThread) -> None:
    def wrong() -> None:
        raise SystemExit("no")

    with pytest.raises(SystemExit, match="no"):
        thread.run(wrong)
    assert thread.run(len, "abc") == 3


def test_what_comes_then_is_in_the_hub(thread: NativeThread) -> None:
    found: list[Any] = []

    def then(result: Any, error: BaseException | None) -> None:
        found.append((result, error, gevent.getcurrent() is gevent.get_hub()))

    thread.submit(len, "abc", then=then)
    eventually(lambda: found)
    assert found == [(3, None, True)]


def test_who_waits_may_leave(thread: NativeThread) -> None:
    go_on = threading.Event()
    with gevent.Timeout(0.01, False):
        thread.run(go_on.wait, 10)
    go_on.set()
    assert thread.run(len, "ab") == 2


@pytest.mark.parametrize("patch", ["", "from gevent import monkey; monkey.patch_all()"])
def test_a_program_may_wait_for_nothing_else_and_end_without_stopping_it(patch: str) -> None:
    code = f"""
        {patch}
        import time
        from gevent import monkey
        from gpyro.stores.native_thread import NativeThread
        thread = NativeThread()
        sleep = monkey.get_original("time", "sleep")
        thread.run(sleep, 0.05)
        print("waited")
        thread.submit(sleep, 60, then=print)
    """
    assert run_python(code) == (0, "waited\n", "")
