"""The steps of the proof by themselves; over connections they are in test_validators and net/test_admission."""

from __future__ import annotations

import pytest
import scramp.core

from gpyro.auth import AuthenticationError, Examination, Identification, Prover, Secrets


@pytest.fixture
def secrets():
    return Secrets(4096)


def proved(secrets, identification, candidates):
    prover = Prover(Identification.of(identification))
    examination = Examination(secrets, prover.first().encode())
    examination.take(prover.answer(examination.challenge.encode()).encode())
    found = examination.proves([secrets.keys(one) for one in candidates])
    if found:
        prover.check(examination.confirmation.encode())
    return found


def test_one_proof_is_compared_with_each_passphrase(secrets):
    assert proved(secrets, "c", ["a", "b", "c", "d"])
    assert proved(secrets, ("ann", "a"), ["a"])
    assert not proved(secrets, "c", ["a", "b"])
    assert not proved(secrets, "c", [])


@pytest.mark.parametrize(
    "name",
    ["a" * 129, "\ufb01n", "\ufdfa" * 20, "=2C" * 129],
    ids=["long", "ligature", "phrase in a letter", "escaped"],
)
def test_names_that_are_dear_to_read_are_refused(secrets, name):
    with pytest.raises(AuthenticationError, match="malformed"):
        Examination(secrets, f"n,,n={name},r=abc".encode())
    Examination(secrets, f"n,,n={'=2C' * 128},r=abc".encode())


def test_comparing_does_not_read_the_name_again_for_each_passphrase(secrets, monkeypatch):
    keys = [secrets.keys(f"passphrase {number}") for number in range(5)]
    examination = Examination(secrets, b"n,,n=ann,r=abc")
    examination.take(b"c=biws,r=abc,p=" + b"A" * 43 + b"=")
    monkeypatch.delattr(scramp.core, "saslprep")
    assert not examination.proves(keys)


@pytest.mark.parametrize("empty", ["", "\u00ad"])
def test_no_keys_of_an_empty_passphrase(secrets, empty):
    with pytest.raises(ValueError, match="not empty"):
        secrets.keys(empty)
