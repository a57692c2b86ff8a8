"""The server's side of a call: from the frame that brings it, through the object's method, to the answer.

`Dispatcher.serve` runs in the hub and only decides; everything that may block or is somebody else's code (decoding
arguments, the method, encoding its result, initTLS) runs in a worker.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gevent.lock import Semaphore
from greenlet import getcurrent

from gpyro.answers import encode_answer, encode_result, send_buffers
from gpyro.batches import run_batch
from gpyro.constants import RIF_Keywords, RIF_Varargs
from gpyro.entries import ObjectEntry
from gpyro.errors import SerializationError, SynchronizationError, WireError
from gpyro.exports import exported_entry
from gpyro.exposure import Members
from gpyro.failures import NotPrepared, Rejected, Unread, Unsendable, answer_to_failed, encoded_error, shown
from gpyro.instances import ClassEntry
from gpyro.observing import ServedCall, label_of, observers
from gpyro.settings import Settings
from gpyro.streams import ArrivingStreams
from gpyro.synchronize import CallLock
from gpyro.tls import CURRENT_CALL, Call, LocalStorage, Session
from gpyro.values.buffers import SEARCHED, holds_large
from gpyro.values.buffers import TYPES as BUFFERS
from gpyro.wire import metadata
from gpyro.wire.frames import ATTACHED, FLAG_BATCH, FLAG_BUFFERS, FLAG_METADATA, FLAG_METHOD, Frame, Kind, Rejection

if TYPE_CHECKING:
    from gpyro.net.channel import Channel

TURN = 0.005
"""Seconds that the queued calls of one session may hold the hub before other channels have their turn."""

IS_UNKNOWN, IS_METHOD, IS_ATTRIBUTE = 0, 1, 2
"""Answers to a DESCRIBE; 1 and 2 are Pyro 3's."""

_RESULT, _CALL, _ONEWAY, _BATCH = int(Kind.RESULT), int(Kind.CALL), int(Kind.ONEWAY), int(Kind.BATCH)
_GET, _SET = int(Kind.GET), int(Kind.SET)


class Dispatcher:
    """The objects of one daemon, and what happens to calls of them. An `gpyro.net.channel.Acceptor`.

    Attributes:
        entries: the connected objects by id.
        max_unread: PYRO_MAX_UNREAD.
        draining: new calls are refused.
        unheard: calls that run, or wait to, although nobody waits for their end: one-way ones.
        on_activity: called in the hub once, when next a session is opened or a request arrives.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.max_unread = settings.PYRO_MAX_UNREAD
        self.entries: dict[str, ObjectEntry] = {}
        self.draining = False
        self.unheard: set[Call] = set()
        self.on_activity: Callable[[], None] | None = None
        self._init_tls: Callable[[LocalStorage], object] | None = None
        # One call at a time, with one storage for all, where calls of the daemon must not overlap.
        self._oneway_inline = not (settings.PYRO_ONEWAY_THREADED and settings.PYRO_MULTITHREADED)
        self._gate = None if settings.PYRO_MULTITHREADED else CallLock()
        self.shared_storage = None if settings.PYRO_MULTITHREADED else LocalStorage()

    def add(self, guid: str, name: str | None, obj: Any) -> None:
        """Make `obj` reachable under `guid`."""
        self.entries[guid] = ObjectEntry(guid, name, obj, self._gate is None)

    def add_class(self, guid: str, name: str | None, cls: type, mode: str, creator: Any, daemon: Any) -> None:
        """Make instances of `cls`, made by `creator` as `mode` says, reachable under `guid`."""
        self.entries[guid] = ClassEntry(guid, name, cls, self._gate is None, mode, creator, daemon)

    def set_init_tls(self, function: Callable[[LocalStorage], object]) -> None:
        """Have `function` prepare the storage of each new session; the shared one is prepared at once."""
        self._init_tls = function
        if self.shared_storage is not None:
            function(self.shared_storage)

    # In the hub

    def open_session(self, channel: Channel, session_id: int, body: bytes) -> Session:
        """A proxy begins; its storage is prepared before its first call starts."""
        session = Session(channel, session_id, body.decode("ascii", "replace"))
        if self._init_tls is not None and self.shared_storage is None:
            session.queue = deque()
            opening = Call(session, (int(Kind.OPEN), 0, 0, session_id, body))
            channel.state.workers.start((self._prepare_session, session, None, {CURRENT_CALL: opening}))
        if self.on_activity is not None:
            self._notify()
        return session

    def close_session(self, channel: Channel, session: Session) -> None:
        """A proxy, or its connection, is gone."""
        session.end()
        if channel.deaf:  # calls that run are finished, though nobody hears of it
            self.unheard.update(call for call in channel.serving.values() if call.session is session)

    def serve(self, channel: Channel, frame: Frame) -> None:
        """A request arrived: start it in a worker, unless it has to wait."""
        session = channel.served.get(frame[3])
        if session is None:
            raise WireError(f"a call on session {frame[3]}, which is not open", "N3")
        call = Call(session, frame)
        if frame[0] != _ONEWAY:
            channel.serving[frame[2]] = call
        else:
            self.unheard.add(call)
            if self._oneway_inline and session.queue is None:
                session.queue = deque()
                channel.state.run_in_hub(lambda: self._start_queued(session))
        if session.queue is not None:
            session.queue.append(call)
        else:
            channel.state.workers.start((self._run, call, None, {CURRENT_CALL: call}))
        if self.on_activity is not None:
            self._notify()

    def _notify(self) -> None:
        notify, self.on_activity = self.on_activity, None
        if notify is not None:
            notify()

    # In a worker

    def _prepare_session(self, session: Session, _: Any) -> None:
        try:
            if self._init_tls is not None:
                self._init_tls(session.storage)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                session.channel.state.interrupt(error)
            session.channel.state.warn("initTLS", "initTLS failed for %s", session.caller, error=error)
            session.failure = encoded_error(session.channel, error)
        session.channel.state.run_in_hub(lambda: self._start_queued(session))

    def _start_queued(self, session: Session) -> None:
        """Let the calls start that waited in the session's queue, in their order, a turn's worth at a time.

        In the hub.
        """
        state, queue = session.channel.state, session.queue
        until = time.monotonic() + TURN
        while queue:
            call = queue.popleft()
            if self._oneway_inline and call.frame[0] == _ONEWAY:
                state.workers.start((self._run_before_others, call, None, {CURRENT_CALL: call}))
                return
            state.workers.start((self._run, call, None, {CURRENT_CALL: call}))
            if time.monotonic() > until:
                state.run_after(0, lambda: self._start_queued(session))
                return
        session.queue = None

    def _run_before_others(self, call: Call, _: Any) -> None:
        """Carry out a one-way call while the later ones of its session wait."""
        self._run(call, None)
        call.session.channel.state.run_in_hub(lambda: self._start_queued(call.session))

    def _run(self, call: Call, _: Any) -> None:
        """The worker's task: carry out one request and answer it."""
        frame, session, channel = call.frame, call.session, call.session.channel
        serializer = channel.serializer
        if channel.closed and (frame[0] != _ONEWAY or channel.forked_away):
            self.unheard.discard(call)
            return  # nobody is there for the answer; in a forked child the call is the parent's
        kind, flags = _RESULT, 0
        entry: ObjectEntry | None = None
        call.worker = getcurrent()
        if observers:
            call.info, call.watched = ServedCall(call), True
        try:
            body = frame[4]
            if frame[1]:
                serializer, body = self._read_flags(call, body)
            entry = self.entries.get(session.object_id) or exported_entry(session, self._gate is None)
            if entry is None or call.cancelled or self.draining or session.failure is not None:
                raise self._why_not(call)
            if frame[0] == _CALL and entry.simple and not observers:
                # The usual case, in as few steps as can be.
                try:
                    method, arguments, keywords = serializer.decode_call(body)
                except SerializationError as error:
                    raise _unreadable(error) from None
                target = entry.obj
                if entry.is_base:
                    target.lastUsed = time.time()
                    if target.delegate is not None:
                        target = target.delegate
                else:
                    entry.last_used = time.time()
                if target.__class__ is not entry.target_class:
                    entry.members(target)
                if entry.methods.get(method) is not False:
                    self._check_oneway(call, entry, method)
                result = getattr(target, method)(*arguments, **keywords)
                try:
                    answer = b"" if result.__class__ in BUFFERS else serializer.encode(result)
                    if not answer or len(answer) >= SEARCHED:
                        flags, answer = self._encode_large(call, entry, result, answer)
                except SerializationError as error:
                    flags, answer = self._encode_result(call, entry, result, error)
            else:
                flags, answer = self._run_unusual(call, entry, body)
            if call.outgoing is not None and call.outgoing.has_buffers:
                flags, answer = send_buffers(call, flags, answer, self.max_unread)
            if len(answer) > channel.result_limit:
                raise self._too_large(channel, len(answer))
        except BaseException as error:
            call.worker = None  # what is said about it must not be broken off
            flags = 0
            kind, answer = answer_to_failed(call, entry, error)
        call.worker = None
        if self.unheard or call.watched:
            self._end_unusual(call, kind, flags, answer)
        else:
            channel.answer(frame, kind, answer, flags)

    def _annotate(self, call: Call, flags: int, answer: bytes) -> tuple[int, bytes]:
        """The answer with what the method gives back along with it."""
        channel = call.session.channel
        fields = {} if call.outgoing is None else call.outgoing.fields
        if not call.answer_annotations:
            return (flags | FLAG_METADATA, metadata.prepend(fields, answer)) if fields else (flags, answer)
        try:
            annotated = metadata.prepend({**fields, metadata.ANNOTATIONS: call.answer_annotations}, answer)
            if len(annotated) <= channel.result_limit:
                return flags | FLAG_METADATA, annotated
            why: object = "with them it is over the limit of a message"
        except SerializationError as error:
            why = error
        channel.state.warn("annotations", "the annotations of an answer to %s are dropped: %s", channel.address, why)
        call.answer_annotations = None
        return self._annotate(call, flags, answer)

    def _end_unusual(self, call: Call, kind: int, flags: int, answer: bytes) -> None:
        """A call ended that somebody watched over, or that nobody waits for: answer it, unless that was done."""
        call.over()
        channel, frame, message = call.session.channel, call.frame, call.outgoing
        unheard = call.answered or frame[0] == _ONEWAY
        if message is not None and (unheard or kind != _RESULT):
            message.stop_streams()  # the result may have been there, but nobody gets it
            message.done()
            message = call.outgoing = None
        if call.info is not None:
            call.info.end()
        self.unheard.discard(call)
        if frame[0] == _ONEWAY:
            channel.oneway_done(frame)
        elif call.counted:
            channel.unheard.release()
        if unheard:
            if call.held:
                channel.attachments().release(frame)
            return
        if call.answer_annotations or message is not None:
            flags, answer = self._annotate(call, flags, answer)
        if message is None:
            channel.answer(frame, kind, answer, flags)
            return
        channel.answer(frame, kind, message.carrying(answer), flags)
        if channel.deaf:
            message.stop_streams()
        message.done()

    def _too_large(self, channel: Channel, size: int) -> Unsendable:
        if size > channel.peer_limit:
            limit = f"{channel.peer_limit} that the caller takes (its PYRO_MAX_MESSAGE)"
            text = f"the result of {size} bytes is over the {limit}"
            return Unsendable(SerializationError(text))
        text = (
            f"the result of {size} bytes was dropped: the {self.max_unread} bytes of results that may wait for the "
            "caller to read them would be exceeded (the server's PYRO_MAX_UNREAD)"
        )
        return Unread(SerializationError(text))

    def _encode(self, call: Call, result: object) -> tuple[int, bytes]:
        if call.session.channel.takes_buffers and holds_large((result,)):
            return encode_answer(call, result, None)
        try:
            return 0, bytes(call.session.channel.serializer.encode(result))
        except SerializationError as error:
            return encode_answer(call, result, error)

    def _read_flags(self, call: Call, body: bytes) -> tuple[Any, bytes]:
        """What reads a request that has flags, and its body without what stands in front."""
        frame, session = call.frame, call.session
        streams = None
        if frame[1] & FLAG_METADATA:
            body = self._read_metadata(call, body)
            if call.fields and metadata.STREAMS in call.fields and frame[0] == _CALL:
                numbers = call.fields[metadata.STREAMS]
                streams = ArrivingStreams(session.channel, session.id, self.settings, numbers, call.deadline)
        if streams is not None or frame[1] & ATTACHED:
            call.decoder = session.channel.attachments().incoming(frame[4], streams)
        if frame[1] & ATTACHED:
            body = body[frame[4].size :]  # type: ignore[attr-defined]
        return call.serializer, body

    def _read_metadata(self, call: Call, body: bytes) -> bytes:
        try:
            fields, body = metadata.split(body)
        except WireError as error:
            raise _unreadable(error) from None
        call.fields = fields
        chain = fields.get(metadata.CHAIN, [])
        if isinstance(chain, list) and all(isinstance(mark, bytes) for mark in chain):
            call.chain = tuple(chain)
        left = fields.get(metadata.DEADLINE)
        if isinstance(left, int) and left >= 0 and call.frame[0] != _ONEWAY:
            until = (call.session.channel.read_at or time.monotonic()) + left / 1000
            call.watch(until)
            if until <= time.monotonic():
                call.late = call.cancelled = True
        return body

    def _encode_large(self, call: Call, entry: ObjectEntry, result: object, answer: bytes) -> tuple[int, bytes]:
        """Encode a result that is large, or bytes; `answer`: what the serializer made of it, if it was asked."""
        if call.session.channel.takes_buffers and holds_large((result,)):
            return self._encode_result(call, entry, result, None)
        return 0, answer or bytes(call.session.channel.serializer.encode(result))

    def _encode_result(
        self, call: Call, entry: ObjectEntry, result: object, refused: SerializationError | None
    ) -> tuple[int, bytes]:
        """Encode a result that the serializer refused, or was not given, as there is more in it than plain values."""
        return encode_result(call, entry, (self._gate, entry.lock), self.settings, result, refused)

    def _why_not(self, call: Call) -> BaseException:
        """Why a call may not start."""
        if call.late:
            return Rejected(Rejection.LATE, "the deadline passed before it began")
        if call.cancelled:
            return Rejected(Rejection.CANCELLED, "cancelled before it began")
        if self.draining:
            return Rejected(Rejection.DRAINING, "the daemon is shutting down")
        if call.session.failure is not None:
            return NotPrepared()
        return Rejected(Rejection.UNKNOWN_OBJECT, f"unknown object ID {shown(call.session.object_id)}")

    def _run_unusual(self, call: Call, entry: ObjectEntry, body: bytes) -> tuple[int, bytes]:
        """Carry out a request that is more than a call, or whose object is more than an object."""
        if isinstance(entry, ClassEntry):
            if call.frame[0] == Kind.DESCRIBE and body[:1] == b"_":
                return 0, bytes((IS_UNKNOWN,))  # whatever the instance is, so none is made [C8]
            entry = entry.entry_for(call)
        if self._gate is not None or entry.lock is not None:
            return self._run_locked(call, entry, body)
        return self._perform(call, entry, body)

    def _run_locked(self, call: Call, entry: ObjectEntry, body: bytes) -> tuple[int, bytes]:
        """Carry out a request of an object, or a daemon, whose calls must not overlap."""
        channel, is_oneway = call.session.channel, call.frame[0] == _ONEWAY
        # Read before it waits, since the caller of a one-way method does not.
        is_call = (is_oneway and not call.frame[1] & FLAG_BATCH) or call.frame[0] == _CALL
        request = self._read_call(call, entry, body) if is_call else None
        held: list[CallLock] = []
        try:
            for lock in (self._gate, entry.lock):
                if lock is not None:
                    lock.acquire(call)
                    held.append(lock)
        except BaseException as error:
            for lock in reversed(held):
                lock.release()
            if isinstance(error, SynchronizationError):
                raise Rejected(Rejection.REENTERED, str(error)) from None
            raise
        try:
            # While it waited for its turn, its caller may have gone.
            unheard = channel.closed and not is_oneway and not call.answered
            if call.cancelled or channel.forked_away or unheard:
                raise Rejected(Rejection.CANCELLED, "cancelled before it began")
            if self.shared_storage is not None:
                call.storage = self.shared_storage
                call.storage.caller = call.session.caller
            return self._perform(call, entry, body, request)
        finally:
            for lock in reversed(held):
                lock.release()

    def _read_call(self, call: Call, entry: ObjectEntry, body: bytes) -> tuple[str, Any, Any]:
        """Method and arguments of a call; if the method is a one-way one, its caller is answered."""
        try:
            method, arguments, keywords = call.serializer.decode_call(body)
        except SerializationError as error:
            raise _unreadable(error) from None
        is_oneway = entry.members(entry.target()).methods.get(method)
        if is_oneway is None:
            raise self._unknown(entry, method)
        if is_oneway and call.frame[0] == _CALL:
            self._answer_early(call, entry)
        return method, arguments, keywords

    def _perform(
        self, call: Call, entry: ObjectEntry, body: bytes, request: tuple[str, Any, Any] | None = None
    ) -> tuple[int, bytes]:
        """Carry out any request; gives the flags and the body of its answer."""
        kind = call.frame[0]
        entry.touch()
        target = entry.target()
        members = entry.members(target)
        is_batch = kind == _BATCH or (call.frame[1] & FLAG_BATCH and kind == _ONEWAY)
        if kind in (_CALL, _ONEWAY) and not is_batch:
            request = request or self._read_call(call, entry, body)
        if call.info is not None:
            call.info.begin(entry.class_name, request[0] if request else label_of(_BATCH if is_batch else kind))
        if is_batch:
            return run_batch(call, entry, body, self._carry_out)
        if request is not None:
            result = self._carry_out(entry, *request)
            if kind == _ONEWAY:
                return 0, b""
            if call.session.channel.takes_buffers and holds_large((result,)):
                return self._encode_result(call, entry, result, None)
            try:
                return 0, bytes(call.session.channel.serializer.encode(result))
            except SerializationError as error:
                return self._encode_result(call, entry, result, error)
        if kind == _SET:
            return self._set(call, entry, target, members, body)
        name = body.decode("utf-8", "replace")
        if kind == _GET:
            if name in members.methods:
                return FLAG_METHOD, b""
            if not members.has_attribute(target, name):
                raise self._unknown(entry, name)
            return self._encode(call, getattr(target, name))
        known = members.has_attribute(target, name)
        return 0, bytes((IS_METHOD if name in members.methods else IS_ATTRIBUTE if known else IS_UNKNOWN,))

    def _carry_out(self, entry: ObjectEntry, method: str, arguments: Any, keywords: Any) -> Any:
        """Call a method; gives its result."""
        target = entry.target()
        if type(target) is not entry.target_class:
            entry.members(target)
        is_oneway = entry.methods.get(method)
        if is_oneway is None:
            raise self._unknown(entry, method)
        if entry.dyncall:
            result = entry.obj.Pyro_dyncall(method, RIF_Varargs | RIF_Keywords, (tuple(arguments), keywords))
        elif keywords:
            result = getattr(target, method)(*arguments, **keywords)
        else:
            result = getattr(target, method)(*arguments)
        return None if is_oneway else result

    def _set(self, call: Call, entry: ObjectEntry, target: Any, members: Members, body: bytes) -> tuple[int, bytes]:
        serializer = call.serializer
        try:
            pair = serializer.decode(body)
        except SerializationError as error:
            raise _unreadable(error) from None
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise Rejected(Rejection.UNREADABLE, "a SET that is no pair of a name and a value")
        name, value = pair
        if not members.has_attribute(target, name):
            raise Rejected(Rejection.UNKNOWN_MEMBER, f"not an attribute: {shown(name)} of {entry.class_name}")
        setattr(target, name, value)
        return 0, serializer.encode(None)

    def _unknown(self, entry: ObjectEntry, name: str) -> Rejected:
        return Rejected(Rejection.UNKNOWN_MEMBER, f"{entry.class_name} offers no {shown(name)}")

    def _check_oneway(self, call: Call, entry: ObjectEntry, method: str) -> None:
        """A method that is no usual one: a one-way one, whose caller is answered, or none at all."""
        if entry.methods.get(method) is None:
            raise self._unknown(entry, method)
        self._answer_early(call, entry)

    def _answer_early(self, call: Call, entry: ObjectEntry) -> None:
        """A method marked one-way: its caller need not wait, unless as many as it may have out run already."""
        channel = call.session.channel
        if channel.unheard is None:
            channel.unheard = Semaphore(channel.granted_calls)
        # One that comes from the very call that the others wait for must not wait for them.
        if not any(lock is not None and lock.is_held_by(call.chain) for lock in (self._gate, entry.lock)):
            channel.unheard.acquire()
            call.counted = True
        if call.cancelled or channel.closed:
            if call.counted:
                channel.unheard.release()
            raise Rejected(Rejection.CANCELLED, "cancelled before it began")
        call.answered = True
        call.held = call.frame[1] & FLAG_BUFFERS != 0
        self.unheard.add(call)
        call.chain = ()  # nobody in it waits for this call
        channel.answer(call.frame, _RESULT, channel.serializer.encode(None), keeps=call.held)


def _unreadable(error: Exception) -> Rejected:
    return Rejected(Rejection.UNREADABLE, f"the server cannot read the call: {error}")
