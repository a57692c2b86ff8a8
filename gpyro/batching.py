"""Batches: many calls of one object in one message."""

from __future__ import annotations

from typing import Any, Final

from gpyro.errors import SerializationError, WireError
from gpyro.proxy import DynamicProxy
from gpyro.values.buffers import holds_large
from gpyro.wire import batch as wire
from gpyro.wire.frames import Kind

_PLAIN: Final = frozenset((type(None), bool, int, float, str))
_NO_KEYWORDS: Final[dict[str, Any]] = {}  # for all calls that have none: fewer things for the garbage collector


class Batch:
    """Collects calls of one remote object, and makes them together when it is called itself.

    ::

        batch = gpyro.batch(account)
        batch.deposit(10)
        batch.withdraw(5)
        first, second = batch()

    The calls run on the server one after the other, in the order made. The first that raises ends the batch: those
    after it are not made. Afterwards the batch is empty, and can be used again.
    """

    def __init__(self, proxy: DynamicProxy) -> None:
        self._proxy = proxy
        self._calls: list[list[Any]] = []  # name, arguments and keyword arguments, as they travel

    def __getattr__(self, name: str) -> Any:
        if name[:1] == "_":
            raise AttributeError(f"{name!r} is private, and never asked of a remote object")

        append = self._calls.append

        def collect(*args: Any, **kwargs: Any) -> None:
            append([name, [*args], kwargs or _NO_KEYWORDS])

        self.__dict__[name] = collect  # found there from now on; it does not know the batch, so nothing is kept by it
        return collect

    def __len__(self) -> int:
        return len(self._calls)

    def __call__(self, oneway: bool = False) -> list[Any] | None:
        """Make the calls that were collected.

        Args:
            oneway: do not wait for them; no result and no exception comes back.

        Returns:
            The results, in order; None for one-way.

        Raises:
            Exception: what the first call raised that failed, with a note that says which it was; its attribute
                ``batch_index`` is that call's number, from 0, and ``batch_results`` the results of those before it.
            SerializationError: an argument cannot travel, or the batch is too large; nothing was called.
            ProtocolError: as with a single call.
        """
        calls = self._calls[:]
        self._calls.clear()
        if not calls:
            return None if oneway else []
        remote = self._proxy._remote

        def body(serializer: Any) -> bytes:
            try:
                return bytes(serializer.encode(calls, "batch"))
            except SerializationError:
                for index, (name, args, kwargs) in enumerate(calls):
                    _check(serializer, index, name, args, kwargs)
                raise

        large = _hold_large(calls)
        if oneway:
            remote.send_batch(body, large)
            return None
        serializer, answer = remote.ask(Kind.BATCH, body, large)
        results: list[Any] = []
        for kind, part in wire.split_answers(answer[4]):
            if kind == wire.SEVERAL:
                results += _several(serializer.decode(part))
            elif kind == Kind.RESULT:
                results.append(serializer.decode(part))
            else:
                raise _failed(remote.failure(serializer, (kind, 0, 0, 0, part)), calls, results)
        if len(results) != len(calls):
            raise WireError(f"a batch of {len(calls)} calls has {len(results)} answers", "B2")
        return results

    def __repr__(self) -> str:
        return f"<Batch of {len(self)} calls for {self._proxy.URI}>"


def _hold_large(calls: list[list[Any]]) -> bool:
    """Whether there is something large among the arguments; quick for the many that are numbers and texts."""
    plain = _PLAIN
    for _, args, kwargs in calls:
        for value in args:
            if value.__class__ not in plain and holds_large((value,)):
                return True
        if kwargs and holds_large(kwargs.values()):
            return True
    return False


def _check(serializer: Any, index: int, name: str, args: Any, kwargs: Any) -> None:
    """Raise SerializationError if this is the call that cannot travel."""
    try:
        serializer.encode_call(name, args, kwargs)
    except SerializationError as error:
        raise SerializationError(f"call {index + 1} of the batch, {name!r}: {error}", error.path) from None


def _several(results: Any) -> list[Any]:
    if type(results) is not list:
        raise WireError("several results of a batch that are no list", "B2")
    return results


def _failed(error: Exception, calls: list[list[Any]], results: list[Any]) -> Exception:
    index = len(results)
    after = len(calls) - index - 1
    text = f"raised by call {index + 1} of a batch of {len(calls)}, {calls[index][0]!r}"
    error.add_note(text + (f"; the {after} after it were not made" if after else ""))
    error.batch_index, error.batch_results = index, results  # type: ignore[attr-defined]
    return error


def batch(proxy: DynamicProxy) -> Batch:
    """An empty batch for the object of `proxy`; see `Batch`."""
    return Batch(proxy)
