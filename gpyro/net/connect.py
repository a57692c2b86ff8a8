"""The channels that a hub has to daemons, shared by all proxies that go to the same one."""

from __future__ import annotations

from gpyro.net.channel import Channel
from gpyro.net.dial import Destination
from gpyro.net.hub import HubState
from gpyro.net.liveness import Liveness
from gpyro.net.opening import Opening
from gpyro.wire.frames import Frame

SENDING_ON = 0.02
"""Seconds between looks at whether a channel that nobody uses has sent everything."""


class ChannelTable:
    """The channels of one hub to daemons: one for each destination."""

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._shared: dict[Destination, Channel | Opening] = {}
        state.part(Liveness)

    def channel(self, destination: Destination, deadline: float | None) -> Channel:
        """An established channel to `destination`, opened if need be. Raises as `Opening.wait` does."""
        there = self._shared.get(destination)
        if isinstance(there, Channel):
            if there.usable:
                return there
            there = None
        if there is None:
            there = self._shared[destination] = Opening(self._state, destination, self._opened)
        return there.wait(deadline)

    def _opened(self, opening: Opening) -> None:
        to = opening.destination
        if self._shared.get(to) is opening:
            del self._shared[to]
            if opening.channel is not None and opening.channel.usable:
                self._shared[to] = opening.channel
        if opening.channel is not None and opening.channel.usable:
            opening.channel.owner = self
            # Until the first session is opened by those who wait.
            opening.channel.start_timer(to.settings.PYRO_CONNECT_TIMEOUT, lambda: self._unused(opening.channel))

    # As the owner of established channels

    def opening(self, channel: Channel, frame: Frame) -> None:
        """The peer will close: new calls take a new channel."""
        self._forget(channel)

    def channel_idle(self, channel: Channel) -> None:
        """Keep it a while for the next proxy, then close it."""
        for destination, there in self._shared.copy().items():
            if there is channel:
                self._linger(channel, destination)
                return
        self._let_go(channel)

    def _unused(self, channel: Channel | None) -> None:
        if channel is not None and not channel.opened:
            self._let_go(channel)

    def _linger(self, channel: Channel, destination: Destination) -> None:
        if channel.opened or channel.pending:
            return
        seconds = 0.0 if destination.private else destination.settings.PYRO_CHANNEL_LINGER
        channel.start_timer(seconds, lambda: self._let_go(channel))

    def _let_go(self, channel: Channel) -> None:
        """Close a channel that nobody uses, when all that was said on it has left, one-way calls too."""
        self._forget(channel)
        if channel.out.size:
            channel.start_timer(SENDING_ON, lambda: self._let_go(channel))
        else:
            channel.dismiss(b"", "no longer used")

    def channel_closed(self, channel: Channel) -> None:
        """It must not be handed out any more."""
        self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        for destination, there in self._shared.copy().items():
            if there is channel:
                self._shared.pop(destination, None)

    # As a part of the hub's state

    def close(self) -> None:
        """The channels are closed by the state itself."""
        self._shared.clear()

    def forked(self) -> None:
        """The channels are the parent's."""
        self._shared.clear()

    def close_inherited(self) -> None:
        """The channels close their descriptors themselves."""
