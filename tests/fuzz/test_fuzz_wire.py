"""The long fuzzer works: a short run of it finds nothing, and what it would find is kept and can be run again."""

from __future__ import annotations

import json
import math
import random

import fuzz_wire
import grammar
import pytest
import wire_targets


@pytest.fixture(autouse=True)
def _crashes(monkeypatch, tmp_path):
    monkeypatch.setattr(fuzz_wire, "CRASHES", tmp_path / "crashes")
    monkeypatch.setattr(fuzz_wire, "SHOWN_EVERY", math.inf)  # with it a look-out begins, which needs the real stderr


@pytest.mark.parametrize("count", [2000, pytest.param(6000, marks=pytest.mark.long)])
def test_a_short_run_finds_nothing(capsys, count):
    assert fuzz_wire.fuzz(0, count, 1) == 0
    out = capsys.readouterr().out
    assert f"seed 1: {count:,} inputs" in out
    assert "no findings" in out
    assert list(fuzz_wire.CRASHES.iterdir()) == []


def test_a_run_tells_its_numbers(capsys):
    assert fuzz_wire.fuzz(0, 200, 2, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seed"], told["inputs"], told["findings"]) == (2, 200, 0)
    assert sum(told["targets"].values()) == 200
    assert len(told["resident_kib"]) == 10


def test_the_same_seed_makes_the_same_inputs():
    def some():
        inputs = fuzz_wire.Inputs(7)
        found = []
        for _ in range(1500):
            found.append(inputs.next())
            inputs.came_of(found[-1], len(found[-1]) % 7)
        return found

    assert some() == some()


def test_valid_inputs_reach_every_target():
    chance = random.Random(7)
    counts = {target: 10 if target == grammar.PROOF else 100 for target in range(len(wire_targets.TARGETS))}
    made = [grammar.fresh(chance, target) for target, count in counts.items() for _ in range(count)]
    outcomes = [wire_targets.one_input(data) for data in [*grammar.corpus(), *made]]
    assert {number for number, _ in outcomes} == set(range(len(wire_targets.TARGETS)))
    frames = {outcome[1] for number, outcome in outcomes if number == 0}
    assert len(frames) > 20
    values = {outcome[2] for number, outcome in outcomes if number == grammar.IN_MSGPACK}
    assert {"list", "dict", "tuple", "Point", "ValueError", "Decimal", "ndarray"} <= values


@pytest.mark.parametrize("target", range(len(wire_targets.TARGETS)))
def test_mutations_keep_the_target_and_stay_bounded(target):
    chance = random.Random(target)
    for _ in range(200):
        data = grammar.mutate(chance, grammar.fresh(chance, target), grammar.fresh(chance, 0))
        assert data[:1] == bytes((target,))
        assert len(data) <= grammar.MAX_INPUT
    assert grammar.mutate(chance, b"", b"")


def test_a_finding_is_kept_and_can_be_run_again(monkeypatch, capsys):
    def broken(data):
        raise IndexError("found")

    monkeypatch.setattr(wire_targets, "TARGETS", [broken] * 7)
    assert fuzz_wire.fuzz(0, 10, 1) == 1
    (path,) = fuzz_wire.CRASHES.iterdir()
    out = capsys.readouterr().out
    assert "IndexError after 0 inputs of seed 1" in out
    assert path.read_bytes().hex() in out.split()
    assert fuzz_wire.main([str(path)]) == 1
    assert fuzz_wire.main(["--hex", path.read_bytes().hex()]) == 1
    monkeypatch.setattr(wire_targets, "TARGETS", [lambda data: None] * 7)
    assert fuzz_wire.main([str(path)]) == 0


def test_the_journal_holds_the_current_input(monkeypatch):
    journal = fuzz_wire.Journal()
    journal.write(b"\x01longer")
    journal.write(b"\x02abc")
    seen = []
    monkeypatch.setattr(fuzz_wire, "one_input", seen.append)
    assert fuzz_wire.main([str(journal.path)]) == 0
    journal.close()
    assert seen == [b"\x02abc"]
    assert not journal.path.exists()


def fail(*arguments):
    raise IndexError


@pytest.mark.parametrize(
    ("name", "owner", "attribute", "harmful"),
    [
        ("fuzz_feed", wire_targets.Connection, "feed", lambda self, data: [(1, 0, 0, 0, "no bytes")]),
        ("fuzz_hello", wire_targets.Hello, "to_bytes", lambda self: b'{"versions":[1,1]}'),
        ("fuzz_metadata", wire_targets.metadata, "split", lambda data: ({}, b"other")),
        ("fuzz_msgpack", wire_targets.MSGPACK, "decode", fail),
        ("fuzz_json", wire_targets.JSON, "decode", fail),
        ("fuzz_frames", wire_targets.Window, "give", fail),
        ("fuzz_proof", wire_targets.Prover, "answer", fail),
    ],
)
def test_every_target_notices_what_is_wrong(name, owner, attribute, harmful, monkeypatch):
    target = next(target for target in wire_targets.TARGETS if target.__name__ == name)
    chance = random.Random(1)
    inputs = [
        grammar.fresh(chance, wire_targets.TARGETS.index(target))[1:] for _ in range(100 if name != "fuzz_proof" else 5)
    ]

    def run():
        for data in inputs:
            target(data)

    run()
    monkeypatch.setattr(owner, attribute, harmful)
    with pytest.raises((wire_targets.Broken, IndexError)):
        run()
