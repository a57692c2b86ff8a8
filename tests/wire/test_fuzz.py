"""The long fuzzer works: a short run of it finds nothing, and what it would find is kept and can be run again."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import ROOT


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("fuzz_wire", ROOT / "fuzz" / "fuzz_wire.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "fuzz_wire", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def fuzzer(module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setattr(module, "CRASHES", tmp_path / "crashes")
    return module


def test_a_short_run_finds_nothing(fuzzer: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzzer.fuzz(0, 3000, 1) == 0
    assert "3,000 inputs" in capsys.readouterr().out
    assert list(fuzzer.CRASHES.iterdir()) == []


def test_the_same_seed_makes_the_same_inputs(fuzzer: ModuleType) -> None:
    def some() -> list[bytes]:
        chance = random.Random(7)
        pool = fuzzer.seeds(chance)
        return pool + [fuzzer.mutate(chance, chance.choice(pool), pool) for _ in range(200)]

    assert some() == some()


def test_valid_inputs_reach_every_target(fuzzer: ModuleType) -> None:
    outcomes = [fuzzer.one_input(data) for data in fuzzer.seeds(random.Random(7))]
    assert {number for number, _ in outcomes} == set(range(len(fuzzer.TARGETS)))
    frames = {outcome[1] for number, outcome in outcomes if number == 0}
    assert len(frames) > 20


def test_a_finding_is_kept_and_can_be_run_again(
    fuzzer: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(data: bytes) -> object:
        raise IndexError("found")

    monkeypatch.setattr(fuzzer, "TARGETS", [broken])
    assert fuzzer.fuzz(0, 10, 1) == 1
    (path,) = fuzzer.CRASHES.iterdir()
    assert "IndexError after 0 inputs" in capsys.readouterr().out
    assert fuzzer.replay([path]) == 1
    monkeypatch.setattr(fuzzer, "TARGETS", [lambda data: None])
    assert fuzzer.replay([path]) == 0


def test_the_journal_holds_the_current_input(fuzzer: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    journal = fuzzer.Journal()
    journal.write(b"\x01longer")
    journal.write(b"\x02abc")
    seen: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzzer, "one_input", seen.append)
        assert fuzzer.replay([journal.path]) == 0
    journal.close()
    assert seen == [b"\x02abc"]
    assert not journal.path.exists()
