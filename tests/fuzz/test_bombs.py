"""Payloads that are meant to be dear: refused, with the right error, for little memory, by ends that live on."""

from __future__ import annotations

import re
import traceback

import bombs
import live
import numpy  # noqa: F401 - so that no payload is charged for its import
import pytest
from bombs import BOMBS, MIB, SPARE, Bomb
from peer import Dead, Target


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.name)
def test_a_payload_is_refused_for_little_memory(bomb):
    payload = bomb.payload()
    text = bomb.refusal(payload)
    assert re.search(bomb.error, text) if bomb.error else text == ""
    assert len(text) < 1_000
    assert bomb.peak(payload) <= 2 * len(payload) + SPARE


def test_there_are_payloads_for_every_reader():
    assert {bomb.way for bomb in BOMBS} == set(bombs.READERS)
    assert len(bombs.BY_NAME) == len(BOMBS) > 100


def test_the_memory_that_a_payload_takes_is_noticed(monkeypatch):
    monkeypatch.setitem(bombs.READERS, "value", lambda payload: bytearray(5 * MIB) and None)
    assert Bomb("value", "x", b"", "").peak(b"") >= 5 * MIB


@pytest.mark.parametrize("name", ["an error that points a billion columns to the right"])
def test_who_prints_an_error_comes_to_an_end(name):
    error = bombs.MSGPACK.decode_error(bombs.BY_NAME[name].payload())
    assert len("".join(traceback.format_exception(error))) < 10_000


def test_a_server_refuses_every_payload_and_goes_on():
    wrong = []
    with Target() as target:
        for bomb in BOMBS:
            if bomb.way == "error":
                continue
            try:
                text = live.throw(target, bomb)
            except Dead as error:
                wrong.append(f"{bomb.name}: {error}")
                continue
            if not re.search(bomb.error or "the bytes are no call", text):
                wrong.append(f"{bomb.name}: {text}")
        target.unharmed()
    assert not wrong, "\n".join(wrong)


def test_a_server_stands_every_flood_and_goes_on():
    wrong = []
    with Target() as target:
        for flood in live.FLOODS:
            try:
                text = live.flood(target, flood, share=0.05)
            except Dead as error:
                wrong.append(f"{flood.name}: {error}")
                continue
            if flood.error not in text or bool(flood.error) is not bool(text):
                wrong.append(f"{flood.name}: {text}")
            target.proxy.let_go()
        target.unharmed()
    assert not wrong, "\n".join(wrong)


def test_the_memory_of_a_server_is_bounded_through_a_flood():
    with Target() as target:
        for name, most in (("a million sessions", 8 * MIB), ("more bytes than granted", 60 * MIB)):
            flood = next(flood for flood in live.FLOODS if flood.name == name)
            target.doctor.begin_measuring()
            live.flood(target, flood)
            assert target.doctor.peak() < most, name
            target.proxy.let_go()


def test_a_client_survives_what_a_server_may_answer():
    errors = {f"method{number}": bomb for number, bomb in enumerate(bomb for bomb in BOMBS if bomb.way == "error")}
    with live.hostile_server({method: bomb.payload() for method, bomb in errors.items()}) as proxy:
        for method, bomb in errors.items():
            text = live.refusal_of_proxy(proxy, method)
            assert re.search(bomb.error, text) if bomb.error else text == "", bomb.name


def test_a_server_that_dies_is_noticed():
    with Target() as target:
        target.process.kill()
        target.process.wait(60)
        with pytest.raises(Dead, match="ended with code -9"):
            target.unharmed()
