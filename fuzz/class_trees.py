"""Random trees of classes, what of their objects may be reached by the rules of the manual, and what is reached.

`Plan` describes a tree before it exists: its classes are made from it, and `Plan.rules` says what may be reached of an
object, by the words of docs/manual.md and from nothing but the plan. `survey` asks for everything with every message
of the wire. The two must say the same.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from peer import Peer

import gpyro
from gpyro import core
from gpyro.wire.frames import CREDIT_BODY, FLAG_METHOD, Kind, Rejection, pack, unpack_text

METHOD, DATA = "method", "data"

Touch = Callable[[str], Any]
"""Notes that a member was reached."""


class Calling:
    """An object that can be called, as a member of a class."""

    def __init__(self, touch: Touch, name: str) -> None:
        self._touch, self._name = touch, name

    def __call__(self, *arguments: Any) -> Any:
        return self._touch(self._name)


class Computed:
    """A descriptor that takes what is set."""

    def __init__(self, touch: Touch, name: str) -> None:
        self._touch, self._name = touch, name

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else self._touch(self._name)

    def __set__(self, owner: Any, value: Any) -> None:
        self._touch(f"{self._name}=")


class Looked:
    """A descriptor that is only read."""

    def __init__(self, touch: Touch, name: str) -> None:
        self._touch, self._name = touch, name

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else self._touch(self._name)


def _function(touch: Touch, name: str) -> Any:
    def member(self: Any, *arguments: Any) -> Any:
        return touch(name)

    member.__name__ = "member"  # an underscore here would matter to a decorator, not to what is reached
    return member


def _free(touch: Touch, name: str) -> Any:
    def member(*arguments: Any) -> Any:
        return touch(name)

    return member


def _property(touch: Touch, name: str) -> Any:
    def write(self: Any, value: Any) -> None:
        touch(f"{name}=")

    return property(_function(touch, name), write)


def _dispatched(touch: Touch, name: str) -> Any:
    method = functools.singledispatchmethod(_function(touch, name))
    method.register(int, _function(touch, name))
    return method


def _generator(touch: Touch, name: str) -> Any:
    def member(self: Any) -> Iterator[int]:
        yield 1

    def begin(self: Any, *arguments: Any) -> Any:
        touch(name)
        return list(member(self))

    return begin


# kind: (what the manual calls it, None for what is never reached; its maker; whether @expose and @oneway can mark it)
KINDS: dict[str, tuple[str | None, Callable[[Touch, str], Any], bool]] = {
    "method": (METHOD, _function, True),
    "static method": (METHOD, lambda touch, name: staticmethod(_free(touch, name)), True),
    "class method": (METHOD, lambda touch, name: classmethod(_function(touch, name)), True),
    "partial method": (METHOD, lambda touch, name: functools.partialmethod(_function(touch, name), 1), True),
    "dispatched method": (METHOD, _dispatched, False),
    "generator": (METHOD, _generator, True),
    "lambda": (METHOD, lambda touch, name: lambda self, *arguments: touch(name), False),
    "calling object": (METHOD, Calling, False),
    "partial": (METHOD, lambda touch, name: functools.partial(touch, name), False),
    "property": (DATA, _property, True),
    "cached property": (DATA, lambda touch, name: functools.cached_property(_function(touch, name)), False),
    "descriptor": (DATA, Computed, False),
    "read-only descriptor": (DATA, Looked, False),
    "number": (DATA, lambda touch, name: 1, False),
    "list": (DATA, lambda touch, name: [1], False),
    "none": (DATA, lambda touch, name: None, False),
    "nested class": (None, lambda touch, name: type(name, (), {"__init__": _function(touch, name)}), False),
}

PUBLIC = [f"name{number}" for number in range(8)]
PRIVATE = ["_name0", "__name1", "_Level0__name2", "__name3__"]
SPECIAL = ["__call__", "__len__", "__getitem__", "__array__"]
# Of ObjBase; in an object that derives from it the daemon itself uses the others, so they are not to be replaced.
UNUSED = ["getDaemon", "setGUID", "delegateTo", "getProxy"]
BASE = [*UNUSED, "objectGUID", "delegate", "lastUsed", "Pyro_dyncall", "GUID"]
OBJ_BASE = frozenset(BASE) | {name for name in vars(core.ObjBase) if not name.startswith("_")}
ODD = [
    "",
    " ",
    "name0 ",
    "name0.real",
    "name0\x00",
    "\uff4eame0",
    "NAME0",
    "name0()",
    "na\nme",
    "é",
    "x" * 300,
    "mro",
    "self",
]
ODD += [
    "__class__",
    "__dict__",
    "__init__",
    "__reduce_ex__",
    "__getattribute__",
    "__subclasses__",
    "__globals__",
    "__mro__",
]


@dataclass
class Level:
    """One class of a tree, before it exists.

    Attributes:
        bases: the numbers of the classes it derives from.
        members: their kinds by name.
        marked: the members that @expose stands on.
        oneway: the methods that @oneway stands on.
        declares: what @expose on the class says: its own public members (True), names, or nothing (None).
        answers: it has a `__getattr__` that answers to every name.
        slots: names of its `__slots__`; None for none, so that it has a dict.
    """

    bases: list[int]
    members: dict[str, str] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)
    oneway: set[str] = field(default_factory=set)
    declares: Literal[True] | set[str] | None = None
    answers: bool = False
    slots: list[str] | None = None


@dataclass(frozen=True)
class Rules:
    """What may be reached of an object, and nothing else."""

    methods: frozenset[str]
    data: frozenset[str]


class Meta(type):
    """A metaclass with members of its own, which are no members of its classes' objects."""

    def name7(cls) -> str:
        """Would be reached through the class."""
        raise AssertionError("a method of the metaclass was reached")

    @property
    def name6(cls) -> str:
        """Would be reached through the class."""
        raise AssertionError("a property of the metaclass was reached")


class Plan:
    """A tree of classes with one object of it.

    Attributes:
        seed: makes it.
        levels: its classes; the last is that of the object.
        own: what the object itself has: a name, and whether that can be called.
        served: how the object is served: derived from ObjBase, as the delegate of one, or as it is.
        touched: what was reached, as the members noted it.
        target: the object.
        served_object: what a daemon gets.
    """

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.seed = seed
        self.touched: set[str] = set()
        self.served = chance.choice(("derived", "delegate", "as it is"))
        self._metaclass = Meta if chance.random() < 0.3 else type
        self.levels = [self._level(chance, number) for number in range(chance.randint(1, 5))]
        self._classes: list[type] = []
        for number, level in enumerate(self.levels):
            self._classes.append(self._class(number, level))
        self.target: Any = self._classes[-1]()
        self.own: dict[str, bool] = {}
        for name in chance.sample([*PUBLIC, "_name0", "__call__"], chance.randint(0, 4)):
            # What the class has to say about being set would come first.
            if hasattr(self.target, "__dict__") and not hasattr(type(vars(self._found()).get(name)), "__set__"):
                self.own[name] = chance.random() < 0.4
        for name, can_be_called in self.own.items():
            self.target.__dict__[name] = functools.partial(self.touch, name) if can_be_called else 1
        self.served_object = self.target
        if self.served == "delegate":
            self.served_object = core.ObjBase()
            self.served_object.delegateTo(self.target)

    def _level(self, chance: random.Random, number: int) -> Level:
        bases = sorted(chance.sample(range(number), min(number, chance.choice((1, 1, 2)))), reverse=True)
        level = Level(bases)
        pool = [*PUBLIC, *PUBLIC, *PRIVATE, *SPECIAL, *(UNUSED if self.served == "derived" else BASE)]
        for name in chance.sample(pool, chance.randint(0, 9)):
            level.members[name] = chance.choice(list(KINDS))
        for name, kind in level.members.items():
            what, _, can_be_marked = KINDS[kind]
            if can_be_marked and what == METHOD and chance.random() < 0.2:
                level.oneway.add(name)
            if can_be_marked and chance.random() < 0.1 and not name.startswith("_"):
                level.marked.add(name)
        how = chance.random()
        if how < 0.1:
            level.declares = True
        elif how < 0.25:
            level.declares = set(chance.sample([*PUBLIC, *UNUSED, "delegate", "lastUsed"], chance.randint(1, 4)))
        level.answers = chance.random() < 0.12
        if chance.random() < 0.15:
            free = [name for name in PUBLIC if name not in level.members]
            level.slots = chance.sample(free, min(2, len(free)))
        return level

    def _class(self, number: int, level: Level) -> type:
        body: dict[str, Any] = {}
        for name, kind in level.members.items():
            member = KINDS[kind][1](self.touch, name)
            if name in level.oneway:
                member = gpyro.oneway(member)
            body[name] = gpyro.expose(member) if name in level.marked else member
        if level.answers:
            body["__getattr__"] = self._answer
        if level.slots is not None:
            body["__slots__"] = level.slots
        bases: tuple[type, ...] = tuple(self._classes[base] for base in level.bases)
        if not bases and self.served == "derived":
            bases = (core.ObjBase,)
        try:
            cls = self._metaclass(f"Level{number}", bases, body)
        except TypeError:  # no order of the bases, or no layout of their slots
            del level.bases[1:]
            cls = self._metaclass(f"Level{number}", bases[:1], body)
        if level.declares is True:
            return gpyro.expose(cls)
        return cls if level.declares is None else gpyro.expose(*sorted(level.declares))(cls)

    @property
    def _answer(self) -> Any:
        def answer(owner: Any, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return functools.partial(self.touch, name)

        return answer

    def _found(self) -> Any:
        """The members of the object's class by name, as looked for from it."""
        found: dict[str, Any] = {}
        for cls in reversed(self._classes[-1].__mro__):
            found |= vars(cls)
        return type("Found", (), {"__dict__": found})()

    def touch(self, name: str, *arguments: Any) -> int:
        """Note that a member was reached."""
        self.touched.add(name)
        return 5

    def names(self) -> list[str]:
        """All that is worth asking for: what there is, and what looks like it."""
        there = {name for cls in self._classes[-1].__mro__ for name in vars(cls)} | set(dir(type)) | set(self.own)
        return sorted({*PUBLIC, *PRIVATE, *SPECIAL, *OBJ_BASE, *ODD} | there)

    def rules(self) -> Rules:
        """What may be reached, by the words of the manual."""
        levels = [self.levels[self._classes.index(cls)] for cls in self._classes[-1].__mro__ if cls in self._classes]
        # "No name with a leading underscore is ever reachable." "... without those of ObjBase."
        hidden = OBJ_BASE if self.served == "derived" else frozenset()
        kinds: dict[str, str] = {}
        for level in reversed(levels):
            kinds |= dict.fromkeys(level.slots or (), "number") | level.members
        # "As soon as anything in a class tree is declared, nothing else of it is reachable." "A delegate with
        # __getattr__ offers only declared names."
        declared: set[str] = set()
        for level in levels:
            declared |= level.marked
            if level.declares is True:
                declared |= {*level.members, *(level.slots or ())}
            elif level.declares is not None:
                declared |= level.declares
        answers = any(level.answers for level in levels)
        narrowed = answers or any(level.marked or level.declares is not None for level in levels)

        def may(name: str) -> bool:
            return not name.startswith("_") and name not in hidden and (name in declared or not narrowed)

        methods = {name for name, kind in kinds.items() if KINDS[kind][0] == METHOD and may(name)}
        if answers:
            methods |= {name for name in declared if name not in kinds and may(name)}
        data = {name for name, kind in kinds.items() if KINDS[kind][0] == DATA and may(name)}
        # "Its public data attributes": also those that only the object has, unless they can be called.
        for name, can_be_called in self.own.items():
            if can_be_called:
                data.discard(name)
            elif may(name) and name not in methods:
                data.add(name)
        return Rules(frozenset(methods), frozenset(data))


# ---- what is reached


class Survey:
    """Asks for members of an object with every message there is.

    Attributes:
        wrong: what is not as the rules say, one line for each.
        asked: how many requests there were.
    """

    def __init__(self, peer: Peer) -> None:
        """`peer` is connected to the daemon that serves the objects."""
        self._peer = peer
        self._numbers = itertools.count(1, 2)
        self.wrong: list[str] = []
        self.asked = 0

    def explore(self, plan: Plan, guid: str) -> None:
        """Ask for everything of the object of a plan, which is served under an id."""
        session = next(self._numbers)
        self._peer.open(session, guid)
        rules, names = plan.rules(), plan.names()
        encode = self._peer.codec.encode
        before = dict(getattr(plan.target, "__dict__", {}))

        def compare(what: str, found: set[str], expected: frozenset[str]) -> None:
            for name in sorted(found ^ expected):
                verb = "is reached" if name in found else "is not reached"
                self.wrong.append(f"tree {plan.seed}, {plan.served}: {name!r} {verb} by {what}")

        described = self._ask(session, Kind.DESCRIBE, {name: name.encode() for name in names})
        compare(
            "DESCRIBE as a method", {name for name, answer in described.items() if answer[1] == b"\1"}, rules.methods
        )
        compare("DESCRIBE as data", {name for name, answer in described.items() if answer[1] == b"\2"}, rules.data)
        compare("DESCRIBE itself", set(plan.touched), frozenset())
        plan.touched.clear()
        got = self._ask(session, Kind.GET, {name: name.encode() for name in names})
        compare("GET as a method", {name for name, answer in got.items() if answer[2] & FLAG_METHOD}, rules.methods)
        compare("GET", {name for name, answer in got.items() if not answer[2] & FLAG_METHOD and answer[0]}, rules.data)
        compare("looking", plan.touched - rules.data, frozenset())
        plan.touched.clear()
        calls = {name: self._peer.codec.encode_call(name, (), {}) for name in names}
        compare(
            "CALL", {name for name, answer in self._ask(session, Kind.CALL, calls).items() if answer[0]}, rules.methods
        )
        called = set(plan.touched)
        compare("CALL indeed", called - rules.methods, frozenset())
        plan.touched.clear()
        self._tell(session, calls)
        compare("ONEWAY", set(plan.touched), frozenset(called))
        plan.touched.clear()
        pairs = {name: encode([name, "written"]) for name in names}
        written = self._ask(session, Kind.SET, pairs)
        compare("SET", {name for name, answer in written.items() if answer[0]}, rules.data)
        after = getattr(plan.target, "__dict__", {})
        changed = {name for name, value in after.items() if value == "written" or name not in before}
        compare("writing", {name.removesuffix("=") for name in plan.touched} | (changed - rules.data), frozenset(
            name.removesuffix("=") for name in plan.touched if name.removesuffix("=") in rules.data))  # fmt: skip
        self._peer.send(pack(Kind.CLOSE, 0, session))

    def _ask(self, session: int, kind: Kind, bodies: dict[str, bytes]) -> dict[str, tuple[bool, bytes, int]]:
        """Ask with each body: whether it was let in, the body of its answer, and its flags."""
        numbers = {next(self._numbers): name for name in bodies}
        frames = [pack(kind, number, session, bodies[name]) for number, name in numbers.items()]
        self._peer.send(b"".join(frames))
        self.asked += len(frames)
        answers = {}
        for _ in frames:
            what, flags, number, _, body = self._peer.expect(Kind.RESULT, Kind.ERROR, Kind.REJECTED)
            let_in = what != Kind.REJECTED
            if not let_in and unpack_text(body)[0] != Rejection.UNKNOWN_MEMBER:
                self.wrong.append(f"{numbers[number]!r}: {unpack_text(body)}")
            answers[numbers[number]] = (let_in, body, flags)
        return answers

    def _tell(self, session: int, bodies: dict[str, bytes]) -> None:
        """Call with each body without being answered, and wait until all of them are over."""
        self._peer.send(b"".join(pack(Kind.ONEWAY, 0, session, body) for body in bodies.values()))
        self.asked += len(bodies)
        missing = len(bodies)
        while missing:
            missing -= CREDIT_BODY.unpack(self._peer.expect(Kind.CREDIT)[4])[0]


def explore(seeds: range, progress: Callable[[int], None] = lambda done: None) -> tuple[list[str], int]:
    """Explore the trees of these seeds on a daemon of this process: what is wrong, and how many requests it took."""
    daemon = core.Daemon(host="127.0.0.1", port=0, norange=1)
    daemon.start()
    peer = Peer.connect(daemon.port)
    survey = Survey(peer)
    try:
        for seed in seeds:
            plan = Plan(seed)
            uri = daemon.connect(plan.served_object)
            survey.explore(plan, uri.objectID)
            daemon.disconnect(plan.served_object)
            progress(seed)
    finally:
        peer.close()
        daemon.stop(1)
    return survey.wrong, survey.asked
