"""Calls that somebody else waits for: futures."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gevent.event import AsyncResult
from greenlet import getcurrent

from gpyro.errors import CallRefusedError
from gpyro.net.hub import HubState, hub_state
from gpyro.net.workers import Worker
from gpyro.tls import CallCancelled

T = TypeVar("T")

if TYPE_CHECKING:
    _AsyncResult = AsyncResult
else:

    class _AsyncResult(AsyncResult, Generic[T]):
        """gevent's class knows of its type parameter only in the stubs."""


class Future(_AsyncResult[T]):
    """The result of a call that runs beside its caller: a gevent `AsyncResult`.

    So there is ``get(timeout=...)``, which returns the result or raises what the call raised, `ready`, and
    `gevent.wait` and `gevent.iwait` over many. A future that is dropped before it is ready cancels its call.
    """

    _task: _Task | None = None

    def cancel(self) -> bool:  # type: ignore[override]
        """Stop the call, here and on the server, so that `get` raises `CallRefusedError`; false if it was ready."""
        task, self._task = self._task, None
        if task is None or self.ready():
            return False
        self.set_exception(CallRefusedError("the future was cancelled"))
        task.stop()
        return True

    def __del__(self) -> None:
        if self._task is not None:
            self._task.stop()


class _Task:
    """The call behind a future, which does not keep the future alive."""

    def __init__(self, state: HubState, future: Future[Any], call: Callable[[], Any]) -> None:
        self._state = state
        self._future = weakref.ref(future)
        self._call: Callable[[], Any] | None = call
        self._worker: Worker | None = None

    def run(self, first: Any, second: Any) -> None:
        """Make the call, in a worker."""
        call, self._call = self._call, None
        if call is None:
            return  # stopped before it began
        self._worker = getcurrent()  # type: ignore[assignment]
        try:
            result, error = call(), None
        except CallCancelled:
            return
        except BaseException as raised:
            result, error = None, raised
            if isinstance(raised, KeyboardInterrupt):
                self._state.interrupt(raised)
        finally:
            self._worker = None
            call = None
        future = self._future()
        if future is None or future.ready():
            return
        future._task = None
        if error is not None:
            future.set_exception(error)
        else:
            future.set(result)

    def stop(self) -> None:
        """From anywhere, also from a finaliser."""
        self._call = None
        if not self._state.closed:
            self._state.call_soon(self._stop)

    def _stop(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.throw(CallCancelled)


def submit(method: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
    """Call a method of a remote object without waiting for it.

    Calls start in the order submitted; any number may be under way, and what the server lets be in flight on a
    connection waits here. Deadlines and what else a call hands on are those of the greenlet that submits.

    Args:
        method: a method of a proxy, as in ``submit(proxy.deposit, 10)``; works with any other callable as well.
        args: its arguments.
        kwargs: its keyword arguments.
    """
    state = hub_state()
    future: Future[T] = Future()
    task = future._task = _Task(state, future, lambda: method(*args, **kwargs))
    tree_locals = getattr(getcurrent(), "spawn_tree_locals", None)
    state.run_in_hub(lambda: state.workers.start((task.run, None, None, dict(tree_locals or {}))))
    return future
