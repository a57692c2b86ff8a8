"""The server's side of a batch: its calls one after the other, up to the first that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpyro.answers import encode_part
from gpyro.entries import ObjectEntry
from gpyro.errors import SerializationError, WireError
from gpyro.failures import Rejected, Unsendable, answer_to_failed
from gpyro.tls import Call, CallCancelled
from gpyro.values.buffers import holds_large
from gpyro.wire.batch import ANSWER_SIZE, pack_answer, split
from gpyro.wire.frames import Kind, Rejection

CarryOut = Callable[[ObjectEntry, str, Any, Any], Any]


def run_batch(call: Call, entry: ObjectEntry, body: bytes, carry_out: CarryOut) -> tuple[int, bytes]:
    """Make the calls of a batch; gives the flags and the body of its answer.

    Args:
        call: the batch as a whole.
        entry: the object.
        body: what came.
        carry_out: calls one method, by its name and arguments.

    Raises:
        Rejected: it cannot be read, and nothing was called.
        CallCancelled: nobody waits for its end any more.
    """
    try:
        parts = list(split(body))
    except WireError as error:
        raise Rejected(Rejection.UNREADABLE, f"the server cannot read the batch: {error}") from None
    serializer, limit = call.serializer, call.session.channel.result_limit
    answers: list[bytes] = []
    size = 0
    for part in parts:
        kind = int(Kind.RESULT)
        try:
            try:
                method, arguments, keywords = serializer.decode_call(part)
            except SerializationError as error:
                raise Rejected(Rejection.UNREADABLE, f"the server cannot read the call: {error}") from None
            result = carry_out(entry, method, arguments, keywords)
            answer = _encoded(call, result, limit - size - ANSWER_SIZE)
        except CallCancelled:
            raise
        except BaseException as error:
            kind, answer = answer_to_failed(call, entry, error)
        answers.append(pack_answer(kind, answer))
        size += len(answers[-1])
        if kind != Kind.RESULT:
            break
    whole = b"".join(answers)
    return (0, whole) if call.outgoing is None else call.outgoing.whole(whole)


def _encoded(call: Call, result: Any, room: int) -> bytes:
    if call.session.channel.takes_buffers and holds_large((result,)):
        answer = encode_part(call, result, None)
    else:
        try:
            answer = bytes(call.session.channel.serializer.encode(result))
        except SerializationError as error:
            answer = encode_part(call, result, error)
    if len(answer) > room:
        text = f"the results of the batch, with {len(answer)} bytes more, are over what the caller takes"
        raise Unsendable(SerializationError(f"{text} (its PYRO_MAX_MESSAGE)"))
    return answer
