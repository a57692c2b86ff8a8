"""The contract of serializers as a test suite.

A plug-in author writes::

    class TestMySerializer(SerializerContract):
        serializer = MySerializer

and runs pytest. The class is made as ``MySerializer(registry, limits)``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from gpyro import errors
from gpyro.constants import TRACEBACK_ATTRIBUTE
from gpyro.remote_traceback import remote_note
from gpyro.values import Limits, Serializer
from gpyro.values.bound import BoundRegistry
from gpyro.values.buffers import make_again

from .samples import (
    SAMPLES,
    AppError,
    Plain,
    Point,
    Unregistered,
    UnregisteredError,
    registry_of_samples,
    same,
)


class BoundMessage:
    """A message that keeps what it is asked about. See `gpyro.values.bound.Message`."""

    def __init__(self) -> None:
        self.things: list[Any] = []

    def refer(self, value: Any) -> int:
        """See `gpyro.values.bound.Message`."""
        if not any(value is thing for thing in self.things):
            self.things.append(value)
        return next(number for number, thing in enumerate(self.things) if thing is value)

    def resolve(self, number: int) -> Any:
        """See `gpyro.values.bound.Message`."""
        return self.things[number]

    def aside(self, value: Any) -> Any:
        """See `gpyro.values.bound.Message`."""

    def remembered(self, value: Any, to_state: Callable[[Any], Any]) -> Any:
        """See `gpyro.values.bound.Message`."""
        return to_state(value)

    def buffer(self, state: Any) -> Any:
        """See `gpyro.values.bound.Message`."""
        return make_again(state, lambda number: bytearray(memoryview(self.things[number]).cast("B")))

    open_stream = refer
    stream = resolve


class SerializerContract:
    """What every serializer has to do; subclasses set `serializer`."""

    serializer: ClassVar[type[Serializer]]

    @pytest.fixture
    def codec(self) -> Serializer:
        """The serializer under test, with the classes of the samples registered."""
        return self.serializer(registry_of_samples(), Limits())

    @pytest.fixture
    def safe(self, codec: Serializer) -> Serializer:
        """The same, for rules that bind only serializers which are safe with any peer."""
        if codec.trusted_only:
            pytest.skip("only for serializers that are safe with any peer")
        return codec

    def test_has_a_name(self, codec: Serializer) -> None:
        assert isinstance(codec.name, str)
        assert codec.name
        assert isinstance(codec.trusted_only, bool)

    @pytest.mark.parametrize("value", SAMPLES, ids=lambda value: f"{type(value).__name__}")
    def test_a_value_arrives_as_what_it_was(self, codec: Serializer, value: Any) -> None:
        assert same(codec.decode(codec.encode(value)), value)

    @pytest.mark.parametrize("value", SAMPLES, ids=lambda value: f"{type(value).__name__}")
    def test_a_nested_value_arrives_as_what_it_was(self, codec: Serializer, value: Any) -> None:
        nested = [value, {"k": (value, [value])}, Point(1, value), {3: value}, Plain(value, {"x": value})]
        assert same(codec.decode(codec.encode(nested)), nested)

    @pytest.mark.parametrize("value", SAMPLES, ids=lambda value: f"{type(value).__name__}")
    def test_a_hashable_value_arrives_as_key_and_member(self, codec: Serializer, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            pytest.skip("not hashable")
        nested = [{value: 1, "other": 2}, [{(value, 1): 2}]]
        assert same(codec.decode(codec.encode(nested)), nested)
        for kind in (set, frozenset):
            (member,) = codec.decode(codec.encode(kind([value])))
            assert same(member, value)

    def test_a_memoryview_arrives_as_bytes_or_is_refused(self, codec: Serializer) -> None:
        for view in (memoryview(b"abc"), memoryview(bytearray(b"abcdef"))[::2]):
            try:
                assert same(codec.decode(codec.encode([view])), [bytes(view)])
            except errors.SerializationError:
                assert codec.trusted_only

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_a_body_may_be_any_buffer(self, codec: Serializer, kind: type) -> None:
        assert codec.decode(kind(codec.encode([1, "a"]))) == [1, "a"]
        assert codec.decode_call(kind(codec.encode_call("m", (), {})))[0] == "m"
        assert isinstance(codec.decode_error(kind(codec.encode_error(KeyError(1), []))), KeyError)

    def test_a_call_arrives(self, codec: Serializer) -> None:
        method, args, kwargs = codec.decode_call(codec.encode_call("echo", (1, (2,), {3: 4}), {"key": (5,), "ü": None}))
        assert method == "echo"
        assert same([*args], [1, (2,), {3: 4}])
        assert same(kwargs, {"key": (5,), "ü": None})

    @pytest.mark.parametrize(
        "value",
        [None, "abc", [], ["m", []], ["m", [], {}, 1], [1, [], {}], ["m", "ab", {}], ["m", [], []], ["m", [], {1: 2}],
         [b"m", [], {}], ["m", {}, {}]],
    )  # fmt: skip
    def test_what_is_no_call_is_refused(self, codec: Serializer, value: Any) -> None:
        with pytest.raises(errors.SerializationError):
            codec.decode_call(codec.encode(value))

    @pytest.mark.parametrize("count", [0, 1, 3, 15, 16, 300])
    def test_what_is_encoded_already_is_put_together(self, codec: Serializer, count: int) -> None:
        values: list[Any] = [["subject", (number, "x" * number), 1.5, {"a": None}] for number in range(count)]
        parts = [codec.encode(value) for value in values]
        whole = codec.join(parts)
        assert codec.decode(whole) == values
        call = codec.join_call("events", parts)
        method, arguments, keywords = codec.decode_call(call)
        assert (method, [*arguments], keywords) == ("events", values, {})
        assert codec.decode_call(codec.join_call("events", (whole,)))[1][0] == values
        if not codec.trusted_only:  # pickle refers to what it has met before
            assert whole == codec.encode(values)
            assert call == codec.encode_call("events", tuple(values), {})

    def test_what_is_put_together_keeps_to_the_limits(self, safe: Serializer) -> None:
        small = self.serializer(registry_of_samples(), Limits(max_bytes=1_000))
        parts = [small.encode("x" * 400)] * 3
        with pytest.raises(errors.SerializationError, match="limit"):
            small.join(parts)
        with pytest.raises(errors.SerializationError, match="limit"):
            small.join_call("events", parts)

    def test_an_error_arrives_with_its_parts(self, codec: Serializer) -> None:
        try:
            try:
                raise KeyError("inner")
            except KeyError as inner:
                raise AppError(7, hint="h") from inner
        except AppError as outer:
            outer.add_note("a note")
            body = codec.encode_error(outer, ["Traceback\n", "  line\n"])
        error = codec.decode_error(body)
        assert type(error) is AppError
        assert error.args == ("code 7",)
        assert (error.code, error.hint) == (7, "h")
        assert type(error.__cause__) is KeyError
        assert error.__context__ is error.__cause__
        assert error.__suppress_context__
        assert getattr(error, TRACEBACK_ATTRIBUTE) == ["Traceback\n", "  line\n"]
        notes = error.__notes__
        assert notes[0] == "a note"
        assert notes[1] == remote_note(["Traceback\n", "  line\n"])

    @pytest.mark.parametrize("cls", [SystemExit, KeyboardInterrupt, GeneratorExit, UnregisteredError])
    def test_other_errors_arrive_as_remote_errors(self, codec: Serializer, cls: type[BaseException]) -> None:
        original = cls("text")
        vars(original)["colour"] = "red"
        error = codec.decode_error(codec.encode_error(original, ["line"]))
        assert type(error) is errors.RemoteError
        assert error.name.endswith(cls.__name__)
        assert error.text == "text"
        assert error.attributes["colour"] == "red"
        assert getattr(error, TRACEBACK_ATTRIBUTE) == ["line"]

    def test_a_verdict_arrives_as_remote_error(self, codec: Serializer) -> None:
        error = codec.decode_error(codec.encode_error(errors.TimeoutError("late", "queued"), []))
        assert type(error) is errors.RemoteError
        assert error.name == "gpyro.errors.TimeoutError"
        assert error.text == "late"

    def test_a_group_arrives(self, codec: Serializer) -> None:
        group = ExceptionGroup("many", [ValueError(1), ExceptionGroup("inner", [UnregisteredError("u")])])
        error = codec.decode_error(codec.encode_error(group, []))
        assert isinstance(error, ExceptionGroup)
        assert error.message == "many"
        assert same(error.exceptions[0], ValueError(1))
        inner = error.exceptions[1]
        assert isinstance(inner, ExceptionGroup)
        assert type(inner.exceptions[0]) is errors.RemoteError

    def test_every_error_can_be_encoded(self, codec: Serializer) -> None:
        class Hostile(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

            __repr__ = __str__

        circular: list[Any] = []
        circular.append(circular)
        loop = ValueError("loop")
        loop.__cause__ = KeyError("back")
        loop.__cause__.__cause__ = loop
        odd = ValueError(Unregistered(), iter(()), "\ud800")
        vars(odd).update(owner=Unregistered(), lock=circular, fine=1)
        for original in (Hostile(Unregistered()), ValueError(circular), loop, odd, ValueError("x" * 40_000_000)):
            error = codec.decode_error(codec.encode_error(original, ["\ud800", "line"]))
            assert isinstance(error, Exception)

    @pytest.mark.parametrize("value", [None, 1, [], {}, [[], []], [[[]], []], [[["ValueError"]], []], "text"])
    def test_what_is_no_error_is_refused(self, codec: Serializer, value: Any) -> None:
        with pytest.raises(errors.SerializationError):
            codec.decode_error(codec.encode(value))

    def test_an_iterator_becomes_a_reference_to_a_stream(self, codec: Serializer) -> None:
        message = BoundMessage()
        bound = codec.over(BoundRegistry(codec.registry, lambda: message))
        source = iter([1])
        body = bound.encode([{"k": source}, 2])
        assert message.things == [source]
        assert bound.decode(body) == [{"k": source}, 2]

    def test_an_unregistered_class_fails_at_the_sender_with_its_path(self, safe: Serializer) -> None:
        argument = Plain(None, [0, 1, 2, Plain(Unregistered(), [])])
        with pytest.raises(errors.SerializationError) as caught:
            safe.encode_call("m", (argument,), {})
        assert caught.value.path == "args[0].items[3].owner"
        assert "args[0].items[3].owner: Unregistered is not registered" in str(caught.value)
        assert "gpyro.register_class(Unregistered)" in str(caught.value)
        with pytest.raises(errors.SerializationError) as caught:
            safe.encode_call("m", (), {"key": ({"a": Unregistered()},)})
        assert caught.value.path == "kwargs['key'][0]['a']"
        with pytest.raises(errors.SerializationError) as caught:
            safe.encode({1: {2: Unregistered()}})
        assert caught.value.path == "result[1][2]"

    def test_a_class_unknown_to_the_receiver_is_named(self, safe: Serializer) -> None:
        from gpyro.values import Registry

        stranger = self.serializer(Registry(), Limits())
        with pytest.raises(
            errors.SerializationError,
            match=r"Point is not registered in the receiving process; add there: gpyro\.register",
        ):
            stranger.decode(safe.encode([(Point(1),)]))

    def test_references_arrive_if_the_registry_knows_them(self, codec: Serializer) -> None:
        if not codec.passes_references:
            pytest.skip("only for serializers that pass references")
        message = BoundMessage()
        codec = codec.over(BoundRegistry(codec.registry, lambda: message))
        value = [print, {"key": (message.things.append, Point(1))}, {1: len}]
        assert same(codec.decode(codec.encode(value)), value)
        method, args, kwargs = codec.decode_call(codec.encode_call("m", (print,), {"key": len}))
        assert (method, *args, kwargs) == ("m", print, {"key": len})
        with pytest.raises(errors.SerializationError):
            codec.encode([print, Unregistered()])

    def test_a_circular_value_is_refused(self, safe: Serializer) -> None:
        inner: list[Any] = []
        value: dict[str, Any] = {"a": [1, (inner,)]}
        inner.append(value)
        with pytest.raises(errors.SerializationError, match="circular") as caught:
            safe.encode(value)
        assert caught.value.path == "result['a'][1][0][0]"

    @pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: (value,), lambda value: {1: value}])
    def test_deep_nesting_arrives_or_is_refused(self, safe: Serializer, wrap: Any) -> None:
        value: Any = 0
        for _ in range(99):
            value = wrap(value)
        assert safe.encode(safe.decode(safe.encode(value))) == safe.encode(value)
        for _ in range(100_000):
            value = wrap(value)
        with pytest.raises(errors.SerializationError, match="levels deep"):
            safe.encode(value)
        # Taken apart step by step: tuples in tuples in tuples would be freed recursively.
        while value:
            (value,) = value.values() if type(value) is dict else value

    def test_a_limit_on_bytes_holds_on_both_sides(self, codec: Serializer) -> None:
        body = codec.encode("x" * 2_000)
        small = self.serializer(registry_of_samples(), Limits(max_bytes=1_000))
        with pytest.raises(errors.SerializationError, match="limit"):
            small.decode(body)
        with pytest.raises(errors.SerializationError, match="limit"):
            small.encode("x" * 2_000)

    def test_a_limit_on_containers_holds(self, safe: Serializer) -> None:
        small = self.serializer(registry_of_samples(), Limits(max_containers=1_000))
        fine: list[Any] = [[] for _ in range(900)]
        assert small.decode(safe.encode(fine)) == fine
        with pytest.raises(errors.SerializationError, match="more than 1,000"):
            small.decode(safe.encode([[] for _ in range(1_000)]))

    def test_keys_of_one_hash_are_limited(self, safe: Serializer) -> None:
        keys = [number * (2**61 - 1) for number in range(102)]
        for value in (dict.fromkeys(keys[:100]), set(keys[:100])):
            assert safe.decode(safe.encode(value)) == value
        refused: tuple[Any, ...] = (dict.fromkeys(keys), set(keys), frozenset(keys), {(key,): 0 for key in keys})
        for value in refused:
            with pytest.raises(errors.SerializationError, match="same hash"):
                safe.decode(safe.encode(value))

    def test_cut_off_and_damaged_bytes_are_refused_or_a_value(self, safe: Serializer) -> None:
        chance = random.Random(1)
        for sample in SAMPLES:
            body = safe.encode([sample])
            if len(body) > 5_000:
                continue
            for _ in range(20):
                damaged = bytearray(body)
                damaged[chance.randrange(len(body))] = chance.randrange(256)
                for data in (damaged, body[: chance.randrange(len(body))]):
                    for decode in (safe.decode, safe.decode_call, safe.decode_error):
                        try:
                            decode(data)
                        except errors.SerializationError:
                            continue
