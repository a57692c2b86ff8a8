"""Opening a channel: from a socket to a channel that both ends agreed on, at the connecting end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from gevent.event import AsyncResult
from gevent.timeout import Timeout

from gpyro.auth import AuthenticationError, Prover, outcome
from gpyro.errors import ConnectionDeniedError, NotSentError, ProtocolError, TimeoutError
from gpyro.net.channel import Acceptor, Channel
from gpyro.net.dial import Destination, dial
from gpyro.net.encoding import serializer_for
from gpyro.net.hub import HubState, limit
from gpyro.remote_traceback import CONTROL
from gpyro.settings import Settings
from gpyro.wire.connection import Connection
from gpyro.wire.frames import Frame, Kind, Refusal, unpack_text
from gpyro.wire.hello import REFERENCES, SCRAM, STREAMS, Hello

acceptors: Final[list[Callable[[Settings], Acceptor]]] = []
"""Makes what serves the calls of the server on a channel; at most one, to be put here from above."""


def client_hello(settings: Settings, proves: bool = False) -> Hello:
    """What a client says; `proves`: it can prove who it is."""
    capabilities = (STREAMS, SCRAM) if proves else (STREAMS,)
    hello = Hello(
        serializers=settings.serializers(),
        message=settings.PYRO_MAX_MESSAGE,
        capabilities=capabilities,
        buffers=settings.PYRO_MAX_BUFFERS,
    )
    if not acceptors:
        return hello
    return replace(
        hello,
        calls=settings.PYRO_MAX_CALLS,
        size=settings.PYRO_MAX_BYTES,
        sessions=settings.PYRO_MAX_SESSIONS,
        capabilities=(*capabilities, REFERENCES),
    )


class Opening:
    """One attempt to open a channel, with all who wait for it. Runs in a worker.

    Ends in an established channel or an error.
    """

    def __init__(self, state: HubState, destination: Destination, done: Callable[[Opening], None]) -> None:
        self.destination = destination
        self.channel: Channel | None = None
        self._state = state
        self._done = done
        self._outcome: AsyncResult[Channel | ProtocolError] = AsyncResult()
        self._settled = False
        to = destination
        self._prover = None if to.credentials is None else Prover(to.credentials)
        self._asked = self._answered = self._proved = False
        state.run_in_hub(lambda: state.start(self._run))

    def wait(self, deadline: float | None) -> Channel:
        """Wait until the channel is established.

        Raises:
            TimeoutError: the deadline (monotonic seconds) passed.
            NotSentError: there is no way to the peer.
            ConnectionDeniedError: the peer refused.
        """
        with limit(None if deadline is None else deadline - monotonic()):
            outcome = self._outcome.get()
            assert outcome is not None
            if isinstance(outcome, ProtocolError):
                # Each waiter gets an error of its own, since raising adds a traceback to it.
                raise type(outcome)(*outcome.args) from None
            return outcome
        raise TimeoutError(f"the deadline passed while connecting to {self.destination}", "connecting")

    def _settle(self, outcome: Channel | ProtocolError) -> None:
        if not self._settled:
            self._settled = True
            self._done(self)
            self._outcome.set(outcome)

    # In a worker

    def _run(self, first: Any, second: Any) -> None:
        to, settings = self.destination, self.destination.settings
        deadline = monotonic() + settings.PYRO_CONNECT_TIMEOUT
        try:
            sock, address = dial(self._state, to, deadline)
            wire = Connection(True, client_hello(settings, self._prover is not None))
            acceptor = acceptors[0](settings) if acceptors else None
            channel = self.channel = Channel(self._state, sock, address, wire, self, acceptor)
            channel.expect_within(max(0.0, deadline - monotonic()), lambda: channel.close("no answer to the hello"))
            if to.judge is not None:
                judge = to.judge
                self._judge(channel, lambda: judge.judge_host(channel))
            channel.send(wire.hello())
            if self._prover is not None:
                channel.send(wire.authenticate(self._prover.first()))
            channel.flush()
        except ProtocolError as error:
            if isinstance(error, TimeoutError):  # this attempt's own time, not a caller's deadline
                error = NotSentError(f"connection failed: {to}: no connection in {settings.PYRO_CONNECT_TIMEOUT:g} s")
            self._fail(error)
        except BaseException as error:
            self._fail(NotSentError(f"connection failed: {to}: {error!r}"))

    def _judge(self, channel: Channel, judge: Callable[[], None]) -> None:
        """Let the proxy's validator judge, which may block, raise, or hang."""
        seconds = self.destination.settings.PYRO_VALIDATION_TIMEOUT
        slow = Timeout(seconds)
        try:
            with slow:
                judge()
                if not slow.pending:
                    raise slow  # which the validator took for something else
        except ProtocolError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self._state.interrupt(error)
            text = f"the proxy's validator failed: {error!r}"
            if error is slow:
                text = f"the proxy's validator took more than {seconds:g} s (PYRO_VALIDATION_TIMEOUT)"
            raise ConnectionDeniedError(text) from error

    def _answer(self, channel: Channel, challenge: bytes) -> None:
        assert self._prover is not None
        try:
            answer = self._state.hub.threadpool.apply(outcome, (self._prover.answer, challenge))
            if isinstance(answer, Exception):
                raise answer
            channel.send(channel.wire.authenticate(answer))
            self._answered = True
        except ProtocolError as error:
            self._fail(ConnectionDeniedError(str(error)))
        except BaseException as error:
            self._fail(NotSentError(f"connection failed: {self.destination}: {error!r}"))

    def _look_at_server(self, channel: Channel, _: Any) -> None:
        judge, given = self.destination.judge, self._prover is not None
        try:
            if judge is not None:
                self._judge(channel, lambda: judge.judge_server(channel, given, self._proved))
            elif given and not self._proved:
                raise ConnectionDeniedError(
                    f"{self.destination} asks for no passphrase, and so did not prove that it is who it should be"
                )
        except ProtocolError as error:
            self._fail(error)
        else:
            self._establish(channel)

    def _fail(self, error: ProtocolError) -> None:
        self._settle(error)
        if self.channel is not None:
            self.channel.close(str(error))

    def _establish(self, channel: Channel) -> None:
        peer = channel.wire.peer
        if peer is not None and not channel.deaf:
            channel.establish(serializer_for(peer.serializers[0], self.destination.settings))
            self._settle(channel)

    # As the owner of the channel until it is established

    def opening(self, channel: Channel, frame: Frame) -> None:
        """The answer to the hello arrived, or a step of the proof."""
        if frame[0] == Kind.REFUSED:
            code, text = unpack_text(frame[4])
            text = CONTROL.sub("?", text)
            # One that is about to end is as good as gone: it may be back soon.
            gone = code == Refusal.DRAINING
            self._settle(NotSentError(f"connection failed: {text}") if gone else ConnectionDeniedError(text))
            channel.close(f"refused: {text}")
        elif frame[0] == Kind.AUTHENTICATE:
            self._step_of_proof(channel, frame[4])
        elif frame[0] == Kind.WELCOME:
            if self._prover is None and self.destination.judge is None:
                self._establish(channel)
            else:
                self._state.start(self._look_at_server, channel)

    def _step_of_proof(self, channel: Channel, message: bytes) -> None:
        assert self._prover is not None
        if not self._asked:
            self._asked = True
            self._state.start(self._answer, channel, message)
            return
        try:
            if not self._answered:
                raise AuthenticationError("the server did not wait for the proof that it asked for")
            self._prover.check(message)
            self._proved = True
        except AuthenticationError as error:
            self._fail(ConnectionDeniedError(str(error)))

    def channel_idle(self, channel: Channel) -> None:
        """Nobody has used it yet."""

    def channel_closed(self, channel: Channel) -> None:
        """Closed before it was established."""
        self._settle(NotSentError(f"connection failed: {self.destination}: {channel.reason}"))
