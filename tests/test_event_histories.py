"""The judge of what publishers and consumers tell finds what must not be, and nothing else."""

from __future__ import annotations

from math import inf

import pytest
from event_histories import Attempt, Fault, Got, Life, Missed, Stream, Verdict, attempts_of, faults, life_of

RED, GREEN = Stream("7", 0, "red"), Stream("7", 0, "green")


def published(verdicts: dict[int, Verdict] | None = None) -> dict[Stream, list[Attempt]]:
    """Six events of each stream, one after the other; all are done, except for these red ones."""
    found: dict[Stream, list[Attempt]] = {RED: [], GREEN: []}
    for sequence in range(6):
        for stream in (RED, GREEN):
            verdict = (verdicts or {}).get(sequence, "done") if stream is RED else "done"
            began = 10.0 + number_of(stream, sequence)
            found[stream].append(Attempt(sequence, began, inf if verdict == "open" else began + 0.5, verdict))
    return found


def number_of(stream: Stream, sequence: int) -> int:
    return 1 + 2 * sequence + (stream is GREEN)


def told(*what: str | int | None) -> list[Got | Missed]:
    """``r0`` is the first red event, ``g0`` the first green one; a number, or None, a gap."""
    found: list[Got | Missed] = []
    for one in what:
        if isinstance(one, str):
            stream = RED if one[0] == "r" else GREEN
            found.append(Got(stream, int(one[1:]), number_of(stream, int(one[1:]))))
        else:
            found.append(Missed(one))
    return found


ALL = ("r0", "g0", "r1", "g1", "r2", "g2", "r3", "g3", "r4", "g4", "r5", "g5")


def life(*what: str | int | None, **more: object) -> Life:
    arguments: dict[str, object] = {"subjects": None, "serial": True, "subscribed": 0.0, "whole": True, **more}
    return Life("one", told=told(*what), **arguments)  # type: ignore[arg-type]


def kinds(*lives: Life, verdicts: dict[int, Verdict] | None = None) -> list[str]:
    found = list(faults(published(verdicts), lives))
    assert all(isinstance(one, Fault) and "one: " in one.text for one in found)
    return sorted({one.kind for one in found})


def without(*left_out: str, instead: tuple[int | None, ...] = ()) -> tuple[str | int | None, ...]:
    """All events but these, with gaps in the place of the first."""
    place = ALL.index(left_out[0])
    return (*ALL[:place], *instead, *(one for one in ALL[place:] if one not in left_out))


@pytest.mark.parametrize(
    "good",
    [
        life(*ALL),
        life(*without("r2", instead=(1,))),
        life(*without("r2", "g2", instead=(2,))),
        life(*without("r2", "g2", instead=(1, 1))),
        life(*without("r2", "g2", instead=(None,))),
        life(*ALL[4:], subscribed=14.9),
        life(whole=False),
    ],
)
def test_what_is_right(good: Life) -> None:
    assert kinds(good) == []


def test_who_is_killed_need_not_tell_the_rest() -> None:
    assert kinds(life(*ALL[:5], whole=False)) == []
    assert kinds(life(*ALL[:5])) == ["lost"]


def test_only_what_was_subscribed_to_counts() -> None:
    red = frozenset({"red"})
    assert kinds(life("r0", "r1", "r2", "r3", "r4", "r5", subjects=red)) == []
    assert kinds(life("r0", 1, "r2", None, "r5", subjects=red)) == []
    assert kinds(life("r0", "r2", None, "r5", subjects=red)) == ["lost"]


def test_subjects_side_by_side() -> None:
    mixed = ("g0", "r0", "g1", "r1", "r2", "r3", "r4", "g2", "r5", "g3", "g4", "g5")
    assert kinds(life(*mixed, serial=False)) == []
    assert kinds(life(*mixed)) == ["count"]  # the event server's numbers go back


def test_what_is_lost_in_silence() -> None:
    assert kinds(life(*without("g3"))) == ["count", "lost"]
    assert kinds(life(*without("g3"), serial=False)) == ["lost"]
    assert kinds(life(*ALL[:-1])) == ["lost"]


def test_a_gap_in_the_wrong_place() -> None:
    # Told of before the neighbours of what is missing, or behind them.
    for place in (0, 2, 9):
        events = [one for one in ALL if one != "r3"]
        events.insert(place, None)  # type: ignore[arg-type]
        assert "lost" in kinds(life(*events))
        assert kinds(life(*events, serial=False)) == (["lost"] if place < 5 else [])  # side by side it may come later


def test_what_comes_twice() -> None:
    assert kinds(life(*ALL, "g5")) == ["count", "twice"]
    assert kinds(life(*ALL), life("g5", subscribed=100.0)) == ["twice"]  # also in another life of the same consumer


def test_disorder() -> None:
    assert kinds(life("r0", "g0", "r2", "g1", "r1", *ALL[5:], serial=False)) == ["disorder"]


def test_what_nobody_published() -> None:
    assert kinds(life(*ALL), verdicts={3: "never"}) == ["untrue"]
    assert kinds(life(*ALL, None, "r6")) == ["untrue"]


@pytest.mark.parametrize("verdict", ["maybe", "open"])
def test_what_may_have_been_published(verdict: Verdict) -> None:
    assert kinds(life(*ALL), verdicts={3: verdict}) == []
    assert kinds(life(*without("r3"), serial=False), verdicts={3: verdict}) == []
    assert kinds(life(*without("r3", instead=(1,)), serial=False), verdicts={3: verdict}) == []


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_gaps_with_a_wrong_count(count: int) -> None:
    events = without("r2", "g2", instead=(count,))
    assert kinds(life(*events)) == ["count"]
    assert kinds(life("r0", "r1", count + 1, "r4", "r5", subjects=frozenset({"red"}))) == (
        ["count"] if count != 1 else []
    )


def test_what_is_in_the_files() -> None:
    found = attempts_of(
        "7", "began 0 red 0 1.5\ndone 0 red 0 2.5\nbegan 0 red 1 3.0\nmaybe 0 red 1 3.5\nbegan 0 red 2 4."
    )
    assert found == {RED: [Attempt(0, 1.5, 2.5, "done"), Attempt(1, 3.0, 3.5, "maybe")]}
    assert attempts_of("7", "began 0 red 0 1.5\n") == {RED: [Attempt(0, 1.5, inf, "open")]}
    text = "missed 3\nsubscribed 9.5\ngot 7 0 red 5 11\nmissed None\ngot 7 0 gr"
    assert life_of("one", None, True, text, False) == Life(
        "one", None, True, 9.5, [Missed(3), Got(RED, 5, 11), Missed(None)], False
    )
    assert life_of("one", None, True, "", False) is None
