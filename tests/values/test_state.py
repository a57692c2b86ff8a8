from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import attrs
import pytest

from gpyro.errors import SerializationError
from gpyro.values import MsgpackSerializer, Registry


def codec_of(*classes: type) -> MsgpackSerializer:
    registry = Registry()
    for cls in classes:
        registry.register(cls)
    return MsgpackSerializer(registry)


def send(value: Any) -> Any:
    codec = codec_of(type(value))
    arrived = codec.decode(codec.encode(value))
    assert type(arrived) is type(value)
    return arrived


def forge(cls: type, state: Any) -> Any:
    """Decode what a peer might send as the state of `cls`."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    sender = Registry()
    sender.register(type("Forged", (), {}), name=name, to_state=lambda _: state, from_state=lambda _: None)
    return codec_of(cls).decode(MsgpackSerializer(sender).encode(sender.by_name(name).cls()))


def test_init_is_not_called() -> None:
    class Guarded:
        def __init__(self, key: str) -> None:
            assert key == "secret"
            self.key = key

    guarded = Guarded("secret")
    guarded.key = "other"
    assert send(guarded).key == "other"


@attrs.define
class Slotted:
    a: int
    b: list[int] = attrs.field(factory=list)


@attrs.define(slots=False, frozen=True)
class Dicted:
    a: int
    b: int = 3


def test_attrs_classes_travel() -> None:
    assert send(Slotted(1, [2])) == Slotted(1, [2])
    assert send(Dicted(1)) == Dicted(1)
    assert forge(Dicted, {"a": 2}) == Dicted(2, 3)
    with pytest.raises(SerializationError, match=r"'a'.*missing"):
        forge(Dicted, {})


@dataclass
class Row:
    a: int
    b: list[int] = field(default_factory=list)
    c: int = field(init=False, default=9)


@dataclass(slots=True)
class SlottedRow:
    a: int
    b: int = 2


def test_dataclasses_are_filled_up_and_checked() -> None:
    assert forge(Row, {"a": 1}) == Row(1)
    assert forge(Row, {"a": 1}).b is not forge(Row, {"a": 1}).b
    assert forge(SlottedRow, {"a": 1}) == SlottedRow(1)
    with pytest.raises(SerializationError, match="field 'a' of Row is missing"):
        forge(Row, {"b": []})
    with pytest.raises(SerializationError, match="has no attribute 'z'"):
        forge(SlottedRow, {"a": 1, "z": 2})


class Proper:
    @property
    def danger(self) -> int:
        return 1

    @danger.setter
    def danger(self, value: int) -> None:
        raise AssertionError("a peer reached a setter")


@pytest.mark.parametrize("state", [1, [1], {1: 2}, {"__class__": 1}, {"__dict__": {}}, ({}, {1: 1}), "text"])
def test_a_forged_state_is_refused(state: Any) -> None:
    with pytest.raises(SerializationError):
        forge(Proper, state)


def test_setters_and_special_attributes_are_out_of_reach() -> None:
    made = forge(Proper, {"danger": 5})
    assert made.danger == 1
    assert type(made) is Proper


def test_private_slots_and_inherited_ones_travel() -> None:
    class Upper:
        __slots__ = ("__secret", "open")

        def __init__(self) -> None:
            self.__secret = 1

        def secret(self) -> int:
            return self.__secret

    class Lower(Upper):
        __slots__ = "single"

    value = Lower()
    value.single = 2
    arrived = send(value)
    assert (arrived.secret(), arrived.single) == (1, 2)
    assert not hasattr(arrived, "open")


def test_getstate_and_setstate_are_honoured() -> None:
    class Getting:
        value = 1

        def __getstate__(self) -> dict[str, int]:
            return {"value": self.value + 1}

    class Setting:
        def __init__(self) -> None:
            self.value = 1

        def __setstate__(self, state: dict[str, int]) -> None:
            self.value = state["value"] + 10

    class Empty:
        def __setstate__(self, state: object) -> None:
            raise AssertionError("there is no state to set")

    assert send(Getting()).value == 2
    assert send(Setting()).value == 11
    assert vars(send(Empty())) == {}


class Colour(enum.Enum):
    RED = 1
    ALIAS = 1  # noqa: PIE796


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Mode(enum.IntFlag):
    A = 1


def test_enums() -> None:
    assert send(Colour.ALIAS) is Colour.RED
    assert send(Access.READ | Access.WRITE) is Access.READ | Access.WRITE
    assert send(Mode.A) is Mode.A
    assert forge(Colour, "RED") is Colour.RED
    for cls, state in ((Colour, 1), (Colour, "GREEN"), (Colour, "__class__"), (Access, 4), (Mode, 2**70), (Mode, "A")):
        with pytest.raises(SerializationError):
            forge(cls, state)
    assert len(Mode._value2member_map_) <= 3


def test_subclasses_of_builtin_types() -> None:
    kinds: list[tuple[type, Any]] = [
        (str, "a\ud800"), (int, 2**80), (float, -0.0), (complex, 1j), (bytes, b"x"), (bytearray, b"y"), (list, [1,
        [2]]), (tuple, (1, (2,))), (dict, {1: 2}), (set, {1}), (frozenset, {1}),
    ]  # fmt: skip
    for base, content in kinds:
        cls: Any = type("Sub", (base,), {"__slots__": ()} if base is tuple else {})
        arrived = send(cls(content))
        assert arrived == base(content)
        assert repr(base(arrived)) == repr(base(content))


def test_forged_content_of_builtin_types_is_refused() -> None:
    class Text(str):
        pass

    from gpyro.testing.samples import Pair

    for cls, state in ((Text, [1, {}]), (Text, "x"), (Text, ["x"]), (Pair, [(1,), {}]), (Pair, [(1, 2, 3), {}])):
        with pytest.raises(SerializationError):
            forge(cls, state)
