from __future__ import annotations

from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.testing.samples import SAMPLES, Frozen, Pair, Plain, Point, Unregistered, registry_of_samples, same
from gpyro.values import Limits, MsgpackSerializer

CODEC = MsgpackSerializer(registry_of_samples())


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_the_walk_makes_what_the_fast_codec_makes(value: Any) -> None:
    walked = CODEC._pack_tree(CODEC._walk.tree([value, (value,)], "result"), "result")
    assert same(CODEC.decode(walked), [value, (value,)])


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Unregistered(), "result"),
        ([0, (1, Unregistered())], "result[1][1]"),
        ({"k": {1: Unregistered()}}, "result['k'][1]"),
        ({(1, 2): [Unregistered()]}, "result[(1, 2)][0]"),
        (Plain([Unregistered()], 0), "result.owner[0]"),
        (Pair(1, Unregistered()), "result[1]"),
        (Point(1, Point(2, Unregistered())), "result.y.y"),
        ({Frozen("a"): Unregistered()}, "result[Frozen(name='a', number=0)]"),
    ],
)
def test_paths(value: Any, path: str) -> None:
    with pytest.raises(SerializationError) as caught:
        CODEC.encode(value)
    assert caught.value.path == path


def test_a_key_without_a_text_does_not_get_in_the_way() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(SerializationError, match=r"result\[<.*\]: Hostile is not registered"):
        CODEC.encode({Hostile(): 1})
    with pytest.raises(SerializationError) as caught:
        CODEC.encode({("x" * 1_000,): Unregistered()})
    assert len(caught.value.path) < 100


def test_a_dict_in_a_circle_through_an_instance() -> None:
    plain = Plain(None, [])
    plain.items.append({1: plain})
    with pytest.raises(SerializationError, match="circular: this is result again") as caught:
        CODEC.encode(plain)
    assert caught.value.path == "result.items[0][1]"
    error = ValueError()
    vars(error)["me"] = error
    with pytest.raises(SerializationError, match="circular"):
        CODEC.encode([error])


def test_shared_references_become_copies() -> None:
    shared = [1]
    first, second = CODEC.decode(CODEC.encode((shared, shared)))
    assert first == second
    assert first is not second


def test_the_limit_on_depth_is_that_of_the_serializer() -> None:
    shallow = MsgpackSerializer(registry_of_samples(), Limits(max_depth=5))
    assert shallow.decode(shallow.encode({1: {2: {3: {4: {5: 6}}}}})) == {1: {2: {3: {4: {5: 6}}}}}
    with pytest.raises(SerializationError, match="more than 5 levels"):
        shallow.encode({1: {2: {3: {4: {5: {6: 7}}}}}})


def test_the_end_of_the_python_stack_is_an_error_like_others() -> None:
    value: Any = 1
    for _ in range(90):
        value = {1: value}

    def dig(frames: int) -> None:
        if frames:
            dig(frames - 1)
        else:
            CODEC.encode(value)

    with pytest.raises(SerializationError, match="too deep for the Python stack"):
        dig(800)


def test_a_dict_that_changes_meanwhile_is_an_error_like_others() -> None:
    registry = registry_of_samples()
    changing: dict[Any, Any] = {1: Unregistered(), 2: 0}

    def grow(value: object) -> int:
        changing[len(changing) + 5] = 0
        return 1

    registry.register(Unregistered, to_state=grow)
    named: dict[str, Any] = {"a": {1: 1}, "b": 0}

    class Growing:
        pass

    def grow_named(value: object) -> int:
        named[f"n{len(named)}"] = 0
        return 1

    registry.register(Growing, to_state=grow_named)
    named["a"] = {1: Growing()}
    with pytest.raises(SerializationError, match="changed size"):
        MsgpackSerializer(registry).encode(named)
