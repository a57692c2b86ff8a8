"""What is reached of the objects of random class trees, by any message, is what the manual says, to the name."""

from __future__ import annotations

import class_trees
import pytest
from class_trees import KINDS, METHOD, Level, Plan

from gpyro import exposure


def test_what_is_reached_is_what_the_rules_say():
    wrong, asked = class_trees.explore(range(60))
    assert not wrong, "\n".join(wrong)
    assert asked > 20_000


def test_the_trees_have_all_that_there_is():
    plans = [Plan(seed) for seed in range(60)]
    levels = [level for plan in plans for level in plan.levels]
    assert {kind for level in levels for kind in level.members.values()} == set(KINDS)
    assert {plan.served for plan in plans} == {"derived", "delegate", "as it is"}
    for part in ("marked", "oneway", "declares", "answers", "slots"):
        assert any(getattr(level, part) for level in levels), part
    assert any(len(level.bases) > 1 for level in levels)
    assert any(plan.own for plan in plans)
    assert sum(len(plan.rules().methods) for plan in plans) > 50
    assert sum(len(plan.rules().data) for plan in plans) > 50


def plan_of(*levels, served="as it is", own=()):
    """A plan by hand, for its rules only."""
    plan = Plan.__new__(Plan)
    plan.seed, plan.served, plan.levels, plan.own = 0, served, list(levels), dict(own)
    plan._classes = []
    for number, level in enumerate(levels):
        bases = tuple(plan._classes[base] for base in level.bases)
        plan._classes.append(type(f"Level{number}", bases, {}))
    return plan


def rules(*levels, **more):
    found = plan_of(*levels, **more).rules()
    return set(found.methods), set(found.data)


def test_the_rules_are_those_of_the_manual():
    members = {"a": "method", "b": "number", "_c": "method", "d": "nested class", "e": "property"}
    assert rules(Level([], members)) == ({"a"}, {"b", "e"})
    assert rules(Level([], members), Level([0], {"a": "number", "f": "lambda"})) == ({"f"}, {"a", "b", "e"})
    assert rules(Level([], members, marked={"a"})) == ({"a"}, set())
    assert rules(Level([], members), Level([0], {"f": "lambda"}, declares=True)) == ({"f"}, set())
    assert rules(Level([], members, declares={"b", "zz"})) == (set(), {"b"})
    assert rules(Level([], members, answers=True)) == (set(), set())
    assert rules(Level([], members, answers=True, declares={"a", "zz"})) == ({"a", "zz"}, set())
    assert rules(Level([], {"getProxy": "method", "x": "method"}), served="derived") == ({"x"}, set())
    assert rules(Level([], {"getProxy": "method"}), served="delegate") == ({"getProxy"}, set())
    assert rules(Level([], members), own={"b": True, "g": False, "h": True, "_i": False}) == ({"a"}, {"e", "g"})


def add_methods(*names):
    return lambda members: members.methods.update(dict.fromkeys(names, False))


def add_data(members):
    members.attributes |= {"lastUsed"}


def forget(members):
    members.methods.clear()


def open_up(members):
    members._closed = False


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (add_methods("_name0"), "'_name0' is reached by CALL"),
        (add_methods("__class__"), "'__class__' is reached by GET as a method"),
        (forget, "is not reached by CALL"),
        (add_data, "'lastUsed' is reached by SET"),
        (open_up, "is reached by GET"),
    ],
)
def test_what_should_not_be_is_told(change, told, monkeypatch):
    init = exposure.Members.__init__

    def changed(self, *arguments):
        init(self, *arguments)
        change(self)

    monkeypatch.setattr(exposure.Members, "__init__", changed)
    wrong, _ = class_trees.explore(range(12))
    assert any(told in line for line in wrong), wrong[:5]


def test_only_nested_classes_are_neither_methods_nor_data():
    assert {kind for kind, (what, _, _) in KINDS.items() if what is None} == {"nested class"}
    assert sum(what == METHOD for what, _, _ in KINDS.values()) >= 8
