"""The server's side of a batch: its calls one after the other, up to the first that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gpyro.answers import encode_part
from gpyro.entries import ObjectEntry
from gpyro.errors import SerializationError
from gpyro.failures import Rejected, Unsendable, answer_to_failed
from gpyro.tls import Call, CallCancelled
from gpyro.values.buffers import holds_large
from gpyro.values.serializer import check_call
from gpyro.wire.batch import ANSWER_SIZE, SEVERAL, pack_answer
from gpyro.wire.frames import Kind, Rejection

CarryOut = Callable[[ObjectEntry, str, Any, Any], Any]

# Results that travel for certain and never change, so that many of them can be encoded together.
_PLAIN: Final = frozenset((type(None), bool, int, float, str))
_TOGETHER: Final = 1_000
_LONGEST: Final = 256


class _Answers:
    """The answers to the calls of a batch, as far as they are there."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._room = call.session.channel.result_limit
        self._parts: list[bytes] = []
        self._plain: list[Any] = []

    def add(self, result: Any) -> None:
        """A call was made. Raises Unsendable."""
        kind = result.__class__
        if kind in _PLAIN and (kind is not str or len(result) <= _LONGEST):
            plain = self._plain
            plain.append(result)
            if len(plain) == _TOGETHER:
                self._flush()
        else:
            self._flush()
            self._put(Kind.RESULT, self._encoded(result))

    def _flush(self) -> None:
        plain, self._plain = self._plain, []
        if plain:
            self._put(SEVERAL, bytes(self._call.session.channel.serializer.encode(plain)))

    def _encoded(self, value: Any) -> bytes:
        channel = self._call.session.channel
        if channel.takes_buffers and holds_large((value,)):
            return encode_part(self._call, value, None)
        try:
            return bytes(channel.serializer.encode(value))
        except SerializationError as error:
            return encode_part(self._call, value, error)

    def _put(self, kind: int, body: bytes) -> None:
        self._room -= len(body) + ANSWER_SIZE
        if self._room < 0:
            text = f"the results of the batch, with {len(body)} bytes more, are over what the caller takes"
            raise Unsendable(SerializationError(f"{text} (its PYRO_MAX_MESSAGE)"))
        self._parts.append(pack_answer(kind, body))

    def end(self, entry: ObjectEntry, error: BaseException) -> None:
        """A call failed."""
        try:
            self._flush()
        except Unsendable as unsendable:
            error = unsendable
        self._parts.append(pack_answer(*answer_to_failed(self._call, entry, error)))

    def whole(self) -> tuple[int, bytes]:
        """The flags and the body of the answer. Raises Unsendable."""
        self._flush()
        whole = b"".join(self._parts)
        return (0, whole) if self._call.outgoing is None else self._call.outgoing.whole(whole)


def run_batch(call: Call, entry: ObjectEntry, body: bytes, carry_out: CarryOut) -> tuple[int, bytes]:
    """Make the calls of a batch; gives the flags and the body of its answer.

    Args:
        call: the batch as a whole.
        entry: the object.
        body: what came.
        carry_out: calls one method, by its name and arguments.

    Raises:
        Rejected: it cannot be read, and nothing was called.
        Unsendable: the results are over what the caller takes.
        CallCancelled: nobody waits for its end any more.
    """
    answers = _Answers(call)
    add = answers.add
    for method, arguments, keywords in _read(call, body):
        try:
            add(carry_out(entry, method, arguments, keywords))
        except CallCancelled:
            raise
        except BaseException as error:
            answers.end(entry, error)
            break
    return answers.whole()


def _read(call: Call, body: bytes) -> list[Any]:
    try:
        calls = call.serializer.decode(body)
        if type(calls) is not list:
            raise SerializationError("it is no list of calls")
        for one in calls:
            check_call(one)
    except SerializationError as error:
        raise Rejected(Rejection.UNREADABLE, f"the server cannot read the batch: {error}") from None
    return calls
