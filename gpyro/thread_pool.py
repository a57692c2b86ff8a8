"""Methods that block, or compute, without holding up the loop."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from gevent import get_hub
from greenlet import getcurrent

P = ParamSpec("P")
R = TypeVar("R")


def threaded(method: Callable[P, R]) -> Callable[P, R]:
    """Run a method in gevent's thread pool, while other calls go on. A decorator, to be combined with the others.

    For what blocks without gevent knowing it, such as SQLite, and for long computations in compiled code, which
    releases the interpreter's lock. The method has the local storage, the caller and the deadline of its call. Objects
    of gevent's that belong to the loop's thread, such as its events and queues, are not for it; proxies are, and
    connect anew in each thread.

    When its caller leaves, the call is over, but the thread goes on to the end of the method. The pool has ten threads
    unless `gevent.get_hub().threadpool.maxsize` says otherwise; looking up host names needs them, too.
    """

    @functools.wraps(method)
    def in_a_thread(*args: P.args, **kwargs: P.kwargs) -> R:
        tree_locals = dict(getattr(getcurrent(), "spawn_tree_locals", None) or {})
        result: R = get_hub().threadpool.apply(_with_context, (tree_locals, method, args, kwargs))
        return result

    return in_a_thread


def _with_context(tree_locals: dict[Any, Any], method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """In the pool's thread, whose greenlet carries out one task after the other."""
    greenlet: Any = getcurrent()
    before = getattr(greenlet, "spawn_tree_locals", None)
    greenlet.spawn_tree_locals = tree_locals
    try:
        return method(*args, **kwargs)
    finally:
        greenlet.spawn_tree_locals = before
