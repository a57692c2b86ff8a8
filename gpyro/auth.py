"""Who connects: both ends prove to each other that they know a passphrase, without saying it.

The proof is SCRAM-SHA-256 (RFC 5802, RFC 7677), of which this file knows the order of the steps, and the library the
contents. It goes beyond the library in one thing: a daemon may accept several passphrases without a user name, so the
one proof that a client gives is tried against each of them.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pickle import PicklingError
from secrets import token_bytes, token_urlsafe
from typing import Any, Final
from unicodedata import ucd_3_2_0

from gpyro.errors import ProtocolError

ITERATIONS: Final = 15_000
"""Rounds of the key derivation: some 10 ms of one processor for each guess, and for each connection of a client."""

MAX_ITERATIONS: Final = 1_000_000
"""Rounds that a server may ask for, so that a hostile one cannot keep its clients busy [A3]."""

NOBODY: Final = "-"
"""The user name of those who have only a passphrase; SCRAM has no empty one [A2]."""

MAX_NAME: Final = 128
"""Bytes of a user's name, or of a passphrase."""

MAX_FIRST: Final = 512
"""Bytes of what a client says first: a name and a nonce."""

MAX_KEPT: Final = 1000
"""Derived keys that are kept."""

_MECHANISM: Final = "SCRAM-SHA-256"

Keys = tuple[bytes, bytes, bytes, int]
"""Salt, stored key, server key and iterations: what is derived from a passphrase, and cannot be used to connect."""


@functools.cache
def _scram() -> Any:
    """The library, which is loaded when first a passphrase is used: it takes as long as a third of gpyro."""
    import scramp

    return scramp


class AuthenticationError(ProtocolError):
    """A step of the proof that is malformed, or does not prove what it should."""


@dataclass(frozen=True, slots=True)
class Identification:
    """Who somebody says to be.

    Attributes:
        user: a user's name; `NOBODY` for none.
        passphrase: the secret that proves it.
    """

    user: str
    passphrase: str = field(repr=False)

    @classmethod
    def of(cls, value: Any) -> Identification:
        """Read what programs say: a passphrase, or a pair of a user's name and a passphrase.

        Raises:
            TypeError: it is neither.
            ValueError: one of them is empty, or has characters that SCRAM does not allow, such as control characters.
        """
        if isinstance(value, str):
            user, passphrase = NOBODY, value
        elif isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(part, str) for part in value):
            user, passphrase = value
            if user == NOBODY:
                raise ValueError(f"{NOBODY!r} is no user's name")
        else:
            raise TypeError(
                f"an identification is a passphrase, or a pair of a user's name and a passphrase, not {_kind(value)}"
            )
        for what, text in (("user's name", user), ("passphrase", passphrase)):
            if not 0 < len(text.encode("utf-8", "surrogatepass")) <= MAX_NAME:
                raise ValueError(f"a {what} has 1 to {MAX_NAME} bytes")
        try:
            prepared = _scram().ScramClient([_MECHANISM], user, passphrase)
        except _scram().ScramException as error:
            raise ValueError(f"an identification cannot have such characters: {error}") from None
        if not bytes(prepared.password):
            raise ValueError("a passphrase has characters that can be seen")
        # As the server will hear it: letters that can be written in two ways are one.
        name = str(prepared.username)
        if user != NOBODY and (name == NOBODY or len(name.encode()) > MAX_NAME):
            raise ValueError(f"a user's name has 1 to {MAX_NAME} bytes, and is not {NOBODY!r}")
        return cls(name, passphrase)

    def __reduce__(self) -> Any:
        raise PicklingError("an identification stays in the process that it was given in")


def _kind(value: Any) -> str:
    # Not the value itself, which may be a secret.
    return f"a {type(value).__name__}"


def outcome(function: Callable[[Any], Any], argument: Any) -> Any:
    """What the function gives, or the exception that it raises: in a thread of gevent's pool, which would print it."""
    try:
        return function(argument)
    except Exception as error:
        return error


# ---- the connecting end


class Prover:
    """The connecting end's side of one proof."""

    def __init__(self, identification: Identification) -> None:
        self._client = _scram().ScramClient([_MECHANISM], identification.user, identification.passphrase)

    def first(self) -> str:
        """What to say first."""
        return str(self._client.get_client_first())

    def answer(self, challenge: bytes) -> str:
        """The answer to the server's challenge. Takes some 10 ms of processor time, without the interpreter's lock.

        Raises:
            AuthenticationError: the challenge is malformed, or asks for too much work.
        """
        try:
            self._client.set_server_first(challenge.decode())
            if int(self._client.iterations) > MAX_ITERATIONS:
                raise AuthenticationError(f"the server asks for more than {MAX_ITERATIONS} iterations")
            return str(self._client.get_client_final())
        except (_scram().ScramException, ValueError):
            raise AuthenticationError("the server's challenge is malformed") from None

    def check(self, confirmation: bytes) -> None:
        """Whether the server knows the passphrase, too.

        Raises:
            AuthenticationError: it did not prove it.
        """
        try:
            self._client.set_server_final(confirmation.decode())
        except (_scram().ScramException, ValueError):
            raise AuthenticationError("the server did not prove that it knows the passphrase") from None


# ---- the accepting end


class Secrets:
    """The keys of an accepting end, all with one salt, since a client without user name can be told only one.

    Attributes:
        salt: the salt.
        iterations: rounds of the key derivation.
        nobodys: a passphrase that nobody has.
    """

    def __init__(self, iterations: int = ITERATIONS) -> None:
        self.salt = token_bytes(16)
        self.iterations = iterations
        self.nobodys = token_urlsafe(24)
        self._kept: dict[bytes, Keys] = {}

    def keys(self, passphrase: str) -> Keys:
        """Derive the keys of a passphrase. Takes some 10 ms the first time, without the interpreter's lock.

        Raises:
            ValueError: it has characters that SCRAM does not allow, or none that count.
        """
        mark = hmac.digest(self.salt, passphrase.encode("utf-8", "surrogatepass"), hashlib.sha256)
        keys = self._kept.get(mark)
        if keys is None:
            try:
                keys = _scram().ScramMechanism(_MECHANISM).make_auth_info(passphrase, self.iterations, self.salt)
            except _scram().ScramException as error:
                raise ValueError(f"a passphrase cannot have such characters: {error}") from None
            if not bytes(_scram().ScramClient([_MECHANISM], NOBODY, passphrase).password):
                raise ValueError("a passphrase is not empty")
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[mark] = keys
        return keys

    def knows(self, passphrase: str) -> bool:
        """Whether `keys` has them at hand."""
        mark = hmac.digest(self.salt, passphrase.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return mark in self._kept


class Examination:
    """The accepting end's side of one proof.

    Attributes:
        user: who the client says to be; '' if it gives no name.
        confirmation: what proves the passphrase to the client, after `proves` found it; '' before.
    """

    def __init__(self, secrets: Secrets, first: bytes) -> None:
        """Take what the client said first.

        Raises:
            AuthenticationError: it is malformed.
        """
        self.user = ""
        self.confirmation = ""
        self._final = ""
        if len(first) > MAX_FIRST:
            raise AuthenticationError(f"the client's first step of the proof is over {MAX_FIRST} bytes")
        try:
            text = first.decode()
            _check_name(text)
            self._begun = (
                _scram()
                .ScramMechanism(_MECHANISM)
                .make_server(
                    lambda user: self._named(user, (secrets.salt, b"", b"", secrets.iterations)),
                    s_nonce=token_urlsafe(24),
                )
            )
            self._begun.set_client_first(text)
            self.challenge = str(self._begun.get_server_first())
        except (_scram().ScramException, ValueError):
            raise AuthenticationError("the client's first step of the proof is malformed") from None

    def _named(self, user: str, keys: Keys) -> Keys:
        self.user = "" if user == NOBODY else user
        return keys

    def take(self, final: bytes) -> None:
        """Take the client's answer to the challenge; what it is worth shows in `proves`.

        Raises:
            AuthenticationError: it is no text.
        """
        try:
            self._final = final.decode()
        except ValueError:
            raise AuthenticationError("the client's proof is malformed") from None

    def proves(self, candidates: Iterable[Keys]) -> bool:
        """Whether the client knows the passphrase of one of these keys."""
        for keys in candidates:
            try:
                # What was said so far is not read again for each: that would cost more than the comparison.
                server = copy.copy(self._begun)
                server.stored_key, server.server_key = keys[1:3]
                server.set_client_final(self._final)
                self.confirmation = str(server.get_server_final())
                return True
            except (_scram().ScramException, ValueError, IndexError, KeyError):
                continue
        return False


def _check_name(first: str) -> None:
    """Refuse a name that is cheap to send and dear to read: a character costs a dozen look-ups, and may stand for many.

    Raises:
        ValueError: it is too long, or not written as its user's client would write it.
    """
    name = "".join(part[2:] for part in first.split(",")[2:3]).replace("=2C", ",").replace("=3D", "=")
    if len(name.encode()) > MAX_NAME or not ucd_3_2_0.is_normalized("NFKC", name):
        raise ValueError("the name is too long, or not in its normal form")
