"""Validators: who may connect, as Pyro 3 programs say it; for daemons and, what a server has to prove, for proxies."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from gevent import get_hub

from gpyro.auth import NOBODY, Examination, Identification, Keys, Secrets, outcome
from gpyro.constants import DENIED_SECURITY, DENIED_UNSPECIFIED
from gpyro.errors import ConnectionDeniedError
from gpyro.net.admission import Verdict

if TYPE_CHECKING:
    from gpyro.hub_daemon import Daemon
    from gpyro.net.channel import Channel


class TCPConnection:
    """A connection as validators see it. What they set on it shows in the `caller` of all its calls.

    Attributes:
        addr: the peer's address; host and port for TCP.
        connected: whether it is still there.
        pid, uid, gid: of the peer, on a Unix socket only.
    """

    def __init__(self, channel: Channel) -> None:
        if channel.user is None:
            channel.user = {}
        self.__dict__["_channel"] = channel

    @property
    def addr(self) -> Any:
        """The peer's address."""
        return self._channel.address

    @property
    def connected(self) -> bool:
        """Whether it is still there."""
        return not self._channel.deaf

    def __getattr__(self, name: str) -> Any:
        channel = self._channel
        if name in channel.user:
            return channel.user[name]
        credentials = channel.peer_credentials if name in ("pid", "uid", "gid") else None
        if credentials is None:
            raise AttributeError(f"the connection has no attribute {name!r}")
        return getattr(credentials, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("addr", "connected", "pid", "uid", "gid"):
            raise AttributeError(f"{name!r} of a connection is what it is")
        self._channel.user[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self._channel.user[name]
        except KeyError:
            raise AttributeError(f"the connection has no attribute {name!r}") from None

    def __str__(self) -> str:
        return f"TCPConnection with {self.addr} connected={int(self.connected)}"


class Token:
    """What the other end shows of who it is, for `DefaultConnValidator.acceptIdentification`.

    Attributes:
        user: the user's name that a client gives; '' for none.
        given: there is an identification: the client has one.
        proved: the other end proved that it knows the passphrase: a client after `proves` found it, a server if it did.
    """

    def __init__(self, user: str = "", given: bool = False, proved: bool = False) -> None:
        self.user = user
        self.given = given
        self.proved = proved

    def proves(self, passphrase: str | None) -> bool:
        """Whether the client knows this passphrase. None, or '', as of a user who is not known, is never proved.

        Raises:
            ValueError: it has characters that no passphrase can have.
        """
        return False

    def proves_one_of(self, keys: Iterable[Keys]) -> bool:
        """Whether the client knows the passphrase of one of these keys."""
        return False

    def __repr__(self) -> str:
        return f"<Token user={self.user!r} given={self.given} proved={self.proved}>"


class _ClientsToken(Token):
    """That of a client that proved something, which is still to be compared."""

    def __init__(self, examination: Examination, secrets: Secrets) -> None:
        super().__init__(examination.user, given=True)
        self._examination = examination
        self._secrets = secrets

    def proves(self, passphrase: str | None) -> bool:
        # A name that is not known takes as long as a wrong passphrase.
        return self.proves_one_of([_derive(self._secrets, passphrase or self._secrets.nobodys)])

    def proves_one_of(self, keys: Iterable[Keys]) -> bool:
        proved = self._examination.proves(keys)
        self.proved = self.proved or proved
        return proved


def _derive(secrets: Secrets, passphrase: str) -> Keys:
    """Derive keys in a thread, so that other greenlets go on."""
    if secrets.knows(passphrase):
        return secrets.keys(passphrase)
    keys = get_hub().threadpool.apply(outcome, (secrets.keys, passphrase))
    if isinstance(keys, Exception):
        raise keys
    return cast("Keys", keys)


class DefaultConnValidator:
    """Judges connections. Programs derive from it; its methods run in greenlets of their own and may block.

    Both methods return ``(1, 0)`` to accept, or ``(0, code)`` with one of the ``DENIED_...`` codes of
    `gpyro.constants`. One that raises, or takes longer than PYRO_VALIDATION_TIMEOUT, refuses.

    The same class serves a daemon (`Daemon.setNewConnectionValidator`) and a proxy (`_setNewConnectionValidator`).
    """

    def __init__(self) -> None:
        self._secrets: Secrets | None = None
        self._allowed: dict[str, list[Keys]] | None = None

    @property
    def secrets(self) -> Secrets:
        """The derived keys, which have one salt."""
        if "_secrets" not in self.__dict__ or self._secrets is None:  # a subclass may have forgotten our constructor
            self._secrets = Secrets()
        return self._secrets

    @property
    def allowed(self) -> dict[str, list[Keys]] | None:
        """Derived keys by user name, '' for none; None if everybody is accepted."""
        return self.__dict__.get("_allowed")

    @allowed.setter
    def allowed(self, keys: dict[str, list[Keys]] | None) -> None:
        self._allowed = keys

    def setAllowedIdentifications(self, ids: Iterable[str | tuple[str, str]] | None) -> None:
        """Accept those only who prove one of these passphrases, or pairs of a user's name and a passphrase.

        None accepts all. Only keys derived from the passphrases are kept.

        Raises:
            TypeError: it is no list or tuple, or something in it is no identification.
            ValueError: a passphrase, or name, is empty or has characters that it cannot have.
        """
        if ids is None:
            self._allowed = None
            return
        if not isinstance(ids, list | tuple):
            raise TypeError("ids must be a list")
        allowed: dict[str, list[Keys]] = {}
        for one in [Identification.of(value) for value in ids]:
            user = "" if one.user == NOBODY else one.user
            allowed.setdefault(user, []).append(self.secrets.keys(one.passphrase))
        self._allowed = allowed

    def acceptHost(self, daemon: Daemon | None, connection: TCPConnection) -> tuple[int, int]:
        """Judge where a connection comes from, or, of a proxy (`daemon` is None), where it goes. Accepts all."""
        return 1, 0

    def acceptIdentification(
        self, daemon: Daemon | None, connection: TCPConnection, token: Token, challenge: Any
    ) -> tuple[int, int]:
        """Judge who is at the other end.

        Of a daemon: whether the client proves what `setAllowedIdentifications` asks for, if that was called. Of a proxy
        (`daemon` is None): whether the server proved that it knows the passphrase, if the proxy has one.

        Args:
            daemon: the daemon that is connected to; None in a client.
            connection: the connection.
            token: what the other end shows.
            challenge: None; part of the signature for programs written for Pyro 3.
        """
        if daemon is None:
            accepted = token.proved or not token.given
        else:
            accepted = self.allowed is None or token.proves_one_of(self.allowed.get(token.user, ()))
        return (1, 0) if accepted else (0, DENIED_SECURITY)


def _overrides(validator: DefaultConnValidator, name: str) -> bool:
    return getattr(type(validator), name) is not getattr(DefaultConnValidator, name)


def check(validator: Any) -> DefaultConnValidator:
    """Return it if it is a validator, else raise TypeError."""
    if not isinstance(validator, DefaultConnValidator):
        raise TypeError("validator must be a DefaultConnValidator instance")
    return validator


class DaemonsDoorkeeper:
    """Asks a daemon's validator. A `gpyro.net.admission.Doorkeeper`."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = weakref.ref(daemon)
        self.validator = DefaultConnValidator()

    @property
    def judges_hosts(self) -> bool:
        """Whether the validator has an opinion of its own on hosts."""
        return _overrides(self.validator, "acceptHost")

    @property
    def asks(self) -> bool:
        """Whether an identification is needed, or judged by the program."""
        return self.validator.allowed is not None or _overrides(self.validator, "acceptIdentification")

    @property
    def secrets(self) -> Secrets:
        """The validator's."""
        return self.validator.secrets

    def judge_host(self, channel: Channel) -> None:
        """See `Doorkeeper`."""
        _judged(self.validator.acceptHost(self._daemon(), TCPConnection(channel)))

    def judge_identification(self, channel: Channel, examination: Examination | None) -> None:
        """See `Doorkeeper`."""
        token = Token() if examination is None else _ClientsToken(examination, self.secrets)
        verdict = self.validator.acceptIdentification(self._daemon(), TCPConnection(channel), token, None)
        given, missing = "the identification is not accepted", "an identification is needed (proxy._setIdentification)"
        _judged(verdict, given if token.given else missing)


class ServersJudge:
    """Asks a proxy's validator about the server. A `gpyro.net.dial.ServerJudge`.

    Equal to that of the same validator, however the program compares its validators.
    """

    def __init__(self, validator: DefaultConnValidator) -> None:
        self.validator = validator

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServersJudge) and self.validator is other.validator

    def __hash__(self) -> int:
        return id(self.validator)

    def judge_host(self, channel: Channel) -> None:
        """See `ServerJudge`."""
        self._judge(self.validator.acceptHost(None, TCPConnection(channel)))

    def judge_server(self, channel: Channel, given: bool, proved: bool) -> None:
        """See `ServerJudge`."""
        token = Token(given=given, proved=proved)
        verdict = self.validator.acceptIdentification(None, TCPConnection(channel), token, None)
        self._judge(verdict, "the server did not prove that it knows the passphrase" if given else "")

    def _judge(self, verdict: Any, text: str = "") -> None:
        try:
            _judged(verdict, text)
        except Verdict as refused:
            raise ConnectionDeniedError(f"the proxy's validator refuses the server: {refused}") from None


def _judged(verdict: Any, text: str = "") -> None:
    """Raise what a validator's answer stands for.

    Raises:
        Verdict: it refused.
        TypeError: it is no answer.
    """
    if not isinstance(verdict, tuple) or len(verdict) != 2 or not isinstance(verdict[1], int):
        raise TypeError(f"a validator returns (1, 0) or (0, code), not {verdict!r}")
    accepted, code = verdict
    if not accepted:
        raise Verdict(code if 0 <= code <= 255 else DENIED_UNSPECIFIED, text if code == DENIED_SECURITY else "")
