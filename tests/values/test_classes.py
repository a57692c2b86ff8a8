from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

import gpyro.values
from gpyro.errors import ProtocolError, SerializationError, TimeoutError
from gpyro.values import MsgpackSerializer, Registry, register_class


class Base:
    def __init__(self, value: Any) -> None:
        self.value = value


class Derived(Base):
    pass


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(sys.modules["gpyro.values.classes"], "registry", registry)
    return registry


def test_all_ways_to_register(own_registry: Registry) -> None:
    @register_class
    class Bare:
        pass

    @register_class(name="app.Named")
    class Named:
        pass

    assert register_class(Base) is Base
    assert own_registry.by_name("app.Named").cls is Named
    assert own_registry.find(Bare).name == f"{__name__}.test_all_ways_to_register.<locals>.Bare"
    assert own_registry.find(Base).name == f"{__name__}.Base"


def test_the_exported_names() -> None:
    assert {"Limits", "Registry", "Serializer", "pack_plain", "register_class", "registry", "unpack_plain"} <= {
        *gpyro.values.__all__
    }


def test_a_class_may_be_registered_again_but_a_name_has_one_class(own_registry: Registry) -> None:
    own_registry.register(Base)
    own_registry.register(Base)
    own_registry.register(Base, name="other.Base")
    # What was sent under the first name is still understood.
    assert own_registry.by_name(f"{__name__}.Base").cls is Base
    assert own_registry.find(Base).name == "other.Base"
    with pytest.raises(ValueError, match=r"two classes are called 'other\.Base'.*name="):
        own_registry.register(Derived, name="other.Base")


def test_what_cannot_be_registered(own_registry: Registry) -> None:
    class Interrupt(BaseException):
        pass

    class Stamp(datetime):
        pass

    class Reduced:
        def __reduce__(self) -> Any:
            return (Reduced, ())

    for cls, text in (
        (Interrupt, "no subclass of Exception"),
        (TimeoutError, "is a ProtocolError"),
        (ProtocolError, "is a ProtocolError"),
        (Stamp, "give to_state= and from_state="),
        (Reduced, "give to_state= and from_state="),
        (dict, "travels already"),
        (tuple, "travels already"),
        (datetime, "travels already"),
    ):
        with pytest.raises(ValueError, match=text):
            own_registry.register(cls)
    with pytest.raises(ValueError, match="needs a dot"):
        own_registry.register(type("MyError", (Exception,), {}), name="ValueError")
    with pytest.raises(TypeError, match="takes a class"):
        own_registry.register(Base(1))  # type: ignore[arg-type]


def test_functions_of_the_user_make_the_state(own_registry: Registry) -> None:
    class Stamp(datetime):
        pass

    own_registry.register(Stamp, to_state=lambda stamp: stamp.isoformat(), from_state=Stamp.fromisoformat)
    codec = MsgpackSerializer(own_registry)
    stamp = codec.decode(codec.encode([Stamp(2024, 1, 1)]))[0]
    assert type(stamp) is Stamp
    assert stamp == Stamp(2024, 1, 1)


def test_one_function_may_be_given_alone(own_registry: Registry) -> None:
    own_registry.register(Base, to_state=lambda base: {"value": base.value + 1})
    codec = MsgpackSerializer(own_registry)
    assert codec.decode(codec.encode(Base(1))).value == 2


def test_subclasses_travel_only_if_asked_for(own_registry: Registry) -> None:
    codec = MsgpackSerializer(own_registry)
    own_registry.register(Base)
    with pytest.raises(SerializationError, match="Derived is not registered"):
        codec.encode(Derived(1))
    own_registry.register(Base, subclasses=True)
    arrived = codec.decode(codec.encode(Derived(1)))
    assert type(arrived) is Base
    assert arrived.value == 1
    own_registry.register(Derived)
    assert type(codec.decode(codec.encode(Derived(1)))) is Derived


def test_failing_functions_are_reported_with_the_path(own_registry: Registry) -> None:
    def fail(value: object) -> object:
        raise KeyError("why")

    own_registry.register(Base, to_state=fail)
    codec = MsgpackSerializer(own_registry)
    with pytest.raises(SerializationError, match="state could not be taken: KeyError: 'why'") as caught:
        codec.encode({"a": [Base(1)]})
    assert caught.value.path == "result['a'][0]"
    assert isinstance(caught.value.__cause__, KeyError)
    own_registry.register(Base, from_state=fail)
    with pytest.raises(SerializationError, match=r"test_classes\.Base: no instance .* KeyError: 'why'"):
        codec.decode(codec.encode([(Base(1),)]))


def test_the_registry_is_not_asked_for_imports(own_registry: Registry) -> None:
    codec = MsgpackSerializer(own_registry)
    own_registry.register(Base, name="this_module_is_never.imported.Base")
    body = codec.encode(Base(1))
    with pytest.raises(
        SerializationError,
        match=r"this_module_is_never\.imported\.Base is not registered in",
    ):
        MsgpackSerializer(Registry()).decode(body)


def test_a_dataclass_of_a_newer_version_gets_its_defaults(own_registry: Registry) -> None:
    @dataclass
    class Old:
        a: int

    @dataclass
    class New:
        a: int
        b: int = 5

    own_registry.register(Old, name="v.Row")
    newer = Registry()
    newer.register(New, name="v.Row")
    arrived = MsgpackSerializer(newer).decode(MsgpackSerializer(own_registry).encode(Old(1)))
    assert arrived == New(1, 5)
