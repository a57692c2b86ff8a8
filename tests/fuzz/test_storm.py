"""Damaged frames over real connections harm nobody."""

from __future__ import annotations

import pytest
import storm
from peer import Target
from storm import Storm


@pytest.mark.parametrize("seed", [1])
def test_a_server_and_its_client_stand_a_storm(seed):
    with Target() as target:
        told = []
        result = Storm(target, seed).rage(1500, lambda result: told.append(result.frames))
        target.unharmed()
    assert result.wrong == []
    assert result.frames >= 1500
    assert result.connections > 50
    assert result.calls > 3
    # All that a server can say was said.
    assert {"WELCOME", "REFUSED", "GOAWAY", "RESULT", "ERROR", "REJECTED", "CREDIT", "PONG"} == set(result.answers)
    assert told


def test_it_is_told_when_the_client_notices(monkeypatch):
    class Liar:
        def echo(self, value):
            return "wrong"

    with Target() as target, monkeypatch.context() as patch:
        patch.setattr(target, "proxy", Liar())
        result = Storm(target, 2).rage(200)
    assert any("a wrong answer" in line for line in result.wrong)


def test_it_is_told_when_the_server_says_what_no_server_says(monkeypatch):
    monkeypatch.setattr(storm, "_EXPECTED", storm._EXPECTED - {storm.Kind.GOAWAY})
    with Target() as target:
        result = Storm(target, 3).rage(200)
    assert any("the server sent" in line for line in result.wrong)
