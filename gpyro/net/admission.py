"""Who comes in: what is said between a newcomer's first byte and its first call, at the accepting end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any, Final, Protocol

import gevent
from greenlet import getcurrent

from gpyro.auth import AuthenticationError, Examination, Secrets
from gpyro.errors import WireError
from gpyro.net.channel import Channel
from gpyro.net.encoding import serializer_for
from gpyro.net.sockets import origin_of
from gpyro.settings import Settings
from gpyro.values import Serializer
from gpyro.wire.connection import State
from gpyro.wire.frames import REFUSAL_TEXTS, Frame, Kind, Refusal
from gpyro.wire.hello import REFERENCES, SCRAM, STREAMS, Hello, choose_serializer, choose_version

FAILURE_DELAY: Final = 1.0
"""Seconds until a wrong identification is answered."""

JUDGED_AT_ONCE: Final = 16
"""Identifications of one address that are judged at a time, those included whose failure is not answered yet.

So an address can try this many a second, whether or not it waits for the answers; and a client of it that knows the
passphrase waits only while somebody there uses all of them.
"""


class _Places:
    """Where the identifications of one address are judged, and those that wait for it.

    Attributes:
        taken: places in use.
        waiting: what waits, in the order that it came; without a greenlet, and only as long as the peer is there.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.waiting: dict[Channel, Examination] = {}


class Verdict(Exception):
    """Why a newcomer is refused."""

    def __init__(self, code: int, text: str = "") -> None:
        reason = REFUSAL_TEXTS.get(code, f"code {code}")
        super().__init__(f"{reason}: {text}" if text else reason)
        self.code = code


class Doorkeeper(Protocol):
    """Judges newcomers. What it judges by runs in a worker and may block; it raises `Verdict` to refuse."""

    @property
    def judges_hosts(self) -> bool:
        """Whether it has an opinion on where connections come from."""

    @property
    def asks(self) -> bool:
        """Whether connections need an identification, or have theirs judged."""

    @property
    def secrets(self) -> Secrets:
        """The keys that identifications are compared with."""

    def judge_host(self, channel: Channel) -> None:
        """Look at where a connection comes from."""

    def judge_identification(self, channel: Channel, examination: Examination | None) -> None:
        """Look at who connects; None if the client has nothing to say."""


class Admission:
    """Admits the newcomers of one listener, or refuses them."""

    def __init__(self, settings: Settings, doorkeeper: Doorkeeper | None, warn: Callable[..., None]) -> None:
        """`warn` logs a warning: a key that says what the lines have in common, a text and its arguments."""
        self._settings = settings
        self._doorkeeper = doorkeeper
        self._warn = warn
        self._answers: dict[str, tuple[Hello, Serializer]] = {}
        self._examined: dict[Channel, Examination] = {}
        self._judging: dict[str, _Places] = {}
        self._judged: dict[Channel, tuple[Any, gevent.Timeout]] = {}
        self.patience = settings.PYRO_HANDSHAKE_TIMEOUT
        self.own = Hello(
            serializers=settings.serializers(),
            calls=settings.PYRO_MAX_CALLS,
            size=settings.PYRO_MAX_BYTES,
            message=settings.PYRO_MAX_MESSAGE,
            sessions=settings.PYRO_MAX_SESSIONS,
            capabilities=(STREAMS, REFERENCES),
            buffers=settings.PYRO_MAX_BUFFERS,
        )

    def expect(self, channel: Channel) -> None:
        """Give the peer its time for what it has to say next."""
        channel.expect_within(self.patience, lambda: self._too_slow(channel))

    def _too_slow(self, channel: Channel) -> None:
        what = "hello" if channel.wire.state is State.HELLO else "proof"
        self._warn("slow", "no %s from %s within %g s", what, channel.address, self.patience)
        text = f"no {what} within {self.patience:g} s (PYRO_HANDSHAKE_TIMEOUT)"
        channel.dismiss(channel.wire.refuse(Refusal.IDLE, text), text)

    # In the hub

    def opening(self, channel: Channel, frame: Frame) -> None:
        """A frame of the opening arrived."""
        if frame[0] == Kind.HELLO:
            hello = channel.wire.peer
            assert hello is not None
            if SCRAM not in hello.capabilities:
                self._judge(channel, None)
        elif channel in self._examined:
            examination = self._examined.pop(channel)
            try:
                examination.take(frame[4])
            except AuthenticationError as error:
                raise WireError(str(error), "A2") from None
            self._queue(channel, examination)
        else:
            self._judge(channel, frame[4])

    def _queue(self, channel: Channel, examination: Examination) -> None:
        """The peer answered the challenge: it is judged when there is a place."""
        channel.stop_timer()
        places = self._judging.setdefault(origin_of(channel.address), _Places())
        if places.taken < JUDGED_AT_ONCE:
            places.taken += 1
            self._start(channel, self._identify, examination)
        else:
            places.waiting[channel] = examination

    def _leave_place(self, host: str) -> None:
        """A place is free: the next one takes it."""
        places = self._judging[host]
        if places.waiting:
            channel = next(iter(places.waiting))
            self._start(channel, self._identify, places.waiting.pop(channel))
            return
        places.taken -= 1
        if not places.taken:
            del self._judging[host]

    def _judge(self, channel: Channel, first: bytes | None) -> None:
        """The peer said hello, and `first`, if it can prove who it is."""
        doorkeeper = self._doorkeeper
        try:
            self._check_hello(channel)
        except Verdict as verdict:
            self.refuse(channel, verdict)
            return
        if doorkeeper is None or not (doorkeeper.judges_hosts or doorkeeper.asks):
            self._welcome(channel)
        else:
            self._start(channel, self._look_at_host, first)

    def _check_hello(self, channel: Channel) -> None:
        """Whether there is a way to talk to each other."""
        hello = channel.wire.peer
        assert hello is not None
        if choose_version(hello.versions) is None:
            low, high = hello.versions
            raise Verdict(Refusal.VERSION, f"offered {low} to {high}")
        accepted = self._settings.serializers()
        if choose_serializer(hello.serializers, accepted) is None:
            offered = ", ".join(hello.serializers)[:200]
            raise Verdict(Refusal.SERIALIZER, f"accepted {', '.join(accepted)}; offered {offered}")

    def _welcome(self, channel: Channel) -> None:
        hello = channel.wire.peer
        assert hello is not None
        name = choose_serializer(hello.serializers, self._settings.serializers())
        assert name is not None
        if name not in self._answers:
            serializer = serializer_for(name, self._settings)
            self._answers[name] = (replace(self.own, serializers=(name,)), serializer)
        answer, serializer = self._answers[name]
        channel.send(channel.wire.welcome(answer))
        channel.establish(serializer)

    def refuse(self, channel: Channel, verdict: Verdict) -> None:
        """Tell a newcomer that it does not come in."""
        if not channel.deaf:
            self._warn("refused", "connection from %s refused: %s", channel.address, verdict)
            channel.dismiss(channel.wire.refuse(verdict.code, str(verdict)), str(verdict))

    def gone(self, channel: Channel) -> None:
        """The connection ended."""
        self._examined.pop(channel, None)
        places = self._judging.get(origin_of(channel.address))
        if places is not None:
            places.waiting.pop(channel, None)
        judged = self._judged.get(channel)
        if judged is not None:
            channel.state.run_in_hub(lambda: self._stop_judging(channel, judged))

    def _stop_judging(self, channel: Channel, judged: tuple[Any, gevent.Timeout]) -> None:
        """End the doorkeeper's time early: who comes and leaves again and again must not keep it busy."""
        if self._judged.get(channel) is judged:
            worker, limit = judged
            worker.throw(limit)

    # In a worker

    def _start(self, channel: Channel, function: Callable[[Channel, Any], None], argument: Any) -> None:
        """Go on outside the hub; the peer waits."""
        channel.stop_timer()
        channel.state.start(function, channel, argument)

    def _look_at_host(self, channel: Channel, first: bytes | None) -> None:
        doorkeeper = self._doorkeeper
        assert doorkeeper is not None
        verdict = None
        if doorkeeper.judges_hosts:
            verdict = self._ask(channel, lambda: doorkeeper.judge_host(channel), alone=True)
        if verdict is None and doorkeeper.asks and first is None:
            verdict = self._ask(channel, lambda: doorkeeper.judge_identification(channel, None), alone=True)
        if verdict is not None:
            self.refuse(channel, verdict)
        elif doorkeeper.asks and first is not None:
            self._challenge(channel, doorkeeper.secrets, first)
        else:
            self._admit(channel, None)

    def _challenge(self, channel: Channel, secrets: Secrets, first: bytes) -> None:
        if channel.deaf:
            return
        try:
            examination = Examination(secrets, first)
        except AuthenticationError as error:
            self.refuse(channel, Verdict(Refusal.SECURITY, str(error)))
            return
        self._examined[channel] = examination
        channel.send(channel.wire.authenticate(examination.challenge))
        self.expect(channel)

    def _identify(self, channel: Channel, examination: Examination) -> None:
        """It has a place. A wrong answer costs time, and the place, also if the peer does not wait."""
        doorkeeper = self._doorkeeper
        assert doorkeeper is not None
        began = monotonic()
        verdict = None
        try:
            if not channel.deaf:
                verdict = self._ask(channel, lambda: doorkeeper.judge_identification(channel, examination))
            if verdict is not None:
                # From its beginning: how long the judging took may tell which users there are.
                gevent.sleep(max(0.0, began + FAILURE_DELAY - monotonic()))
        finally:
            channel.state.run_in_hub(lambda: self._leave_place(origin_of(channel.address)))
        if verdict is not None:
            self.refuse(channel, verdict)
        else:
            self._admit(channel, examination)

    def _ask(self, channel: Channel, judge: Callable[[], None], alone: bool = False) -> Verdict | None:
        """Let the doorkeeper judge, within the time that there is for it; None if it has nothing against the peer.

        With `alone` its time also ends when the peer leaves: there is no place that the peer has to hold.
        """
        seconds = self._settings.PYRO_VALIDATION_TIMEOUT
        limit = gevent.Timeout(seconds)
        if alone:
            self._judged[channel] = (getcurrent(), limit)
        try:
            with limit:
                judge()
                if not limit.pending:
                    raise limit  # which the validator took for something else
            return None
        except Verdict as verdict:
            return verdict
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                channel.state.interrupt(error)
            text = "the server's validator failed"
            if error is limit and channel.deaf:
                return Verdict(Refusal.UNSPECIFIED, "it left")
            if error is limit:
                text = f"the server's validator took more than {seconds:g} s (PYRO_VALIDATION_TIMEOUT)"
            channel.state.warn("validator", "%s: for %s", text, channel.address, error=error)
            return Verdict(Refusal.UNSPECIFIED, text)
        finally:
            self._judged.pop(channel, None)

    def _admit(self, channel: Channel, examination: Examination | None) -> None:
        if channel.deaf:
            return
        if examination is not None and examination.confirmation:
            channel.identity = examination.user
            channel.send(channel.wire.confirm(examination.confirmation))
        self._welcome(channel)
