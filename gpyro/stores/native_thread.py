"""A thread beside the loop, for what blocks: one after the other, in the order given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent import monkey
from gevent.event import AsyncResult

from gpyro.net.hub import hub_state

_start_thread = monkey.get_original("_thread", "start_new_thread")
_make_queue = monkey.get_original("queue", "SimpleQueue")

Then = Callable[[Any, BaseException | None], object]


class NativeThread:
    """A thread of the operating system's, in patched processes, too, that works for the hub which made it.

    What runs there must not use gevent. At the end of the program nobody waits for it.
    """

    def __init__(self) -> None:
        """Start it; `stop` has to follow."""
        self._state = hub_state()
        self._tasks: Any = _make_queue()
        self._out = 0
        self._expected: Any = None
        _start_thread(_work, (self._tasks,))

    def submit(self, function: Callable[..., Any], *arguments: Any, then: Then) -> None:
        """Run a function there.

        Args:
            function: what is to run, with these `arguments`.
            arguments: of the function.
            then: called in the hub afterwards, with what the function returned, or else None and what it raised.
        """

        def done(result: Any, error: BaseException | None) -> None:
            self._state.call_soon(lambda: self._done(then, result, error))

        if not self._out:
            # Word from the thread is a reason for the loop to go on.
            self._expected = self._state.loop.async_()
            self._expected.start(_nothing)
        self._out += 1
        self._tasks.put((function, arguments, done))

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function there, and wait in this greenlet for what it returns or raises."""
        answer: Any = AsyncResult()

        def then(result: Any, error: BaseException | None) -> None:
            if error is None:
                answer.set(result)
            else:
                answer.set_exception(error)

        self.submit(function, *arguments, then=then)
        return answer.get()

    def _done(self, then: Then, result: Any, error: BaseException | None) -> None:
        self._out -= 1
        if not self._out:
            self._expected.stop()
            self._expected.close()
            self._expected = None
        then(result, error)

    def stop(self) -> None:
        """Have it end after what it was given."""
        self._tasks.put(None)


def _work(tasks: Any) -> None:
    """In the thread."""
    while True:
        task = tasks.get()
        if task is None:
            return
        function, arguments, done = task
        try:
            result, failure = function(*arguments), None
        except BaseException as error:
            result, failure = None, error
        done(result, failure)
        del task, function, arguments, done, result, failure  # not kept while there is nothing to do


def _nothing() -> None:
    """For a watcher that only has to be there."""
