from __future__ import annotations

import builtins
import dataclasses
import pickle
import traceback
from typing import Any

import pytest

from gpyro import errors
from gpyro.remote_traceback import remote_note
from gpyro.testing.samples import AppError, Unregistered, UnregisteredError, registry_of_samples, same
from gpyro.values import JsonSerializer, MsgpackSerializer, Registry, Serializer, exceptions

CODEC = MsgpackSerializer(registry_of_samples())


@pytest.fixture(params=[MsgpackSerializer, JsonSerializer])
def codec(request: pytest.FixtureRequest) -> Serializer:
    return request.param(registry_of_samples())


def raised(error: BaseException, codec: Serializer = CODEC) -> Any:
    return codec.decode_error(codec.encode_error(error, []))


def caught_from(function: Any, *args: Any) -> Exception:
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError


def test_builtin_errors_keep_their_fields(codec: Serializer) -> None:
    missing = raised(caught_from(open, "/does/not/exist"), codec)
    assert type(missing) is FileNotFoundError
    assert (missing.errno, missing.filename) == (2, "/does/not/exist")
    assert str(missing) == "[Errno 2] No such file or directory: '/does/not/exist'"
    assert str(raised(OSError(5, "text"), codec)) == "[Errno 5] text"
    assert str(raised(OSError("only text"), codec)) == "only text"
    blocking = raised(BlockingIOError(11, "again", 7), codec)
    assert blocking.characters_written == 7

    decode = raised(caught_from(b"ab\xff".decode, "utf-8"), codec)
    assert str(decode) == "'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"
    assert decode.object == b"ab\xff"
    encode = raised(caught_from("a\ud800".encode), codec)
    assert str(encode) == str(caught_from("a\ud800".encode))
    assert str(raised(UnicodeTranslateError("abc", 1, 2, "why"), codec)) == str(
        UnicodeTranslateError("abc", 1, 2, "why")
    )

    absent = raised(caught_from(__import__, "no_such_module_here"), codec)
    assert type(absent) is ModuleNotFoundError
    assert (absent.name, absent.msg) == ("no_such_module_here", "No module named 'no_such_module_here'")
    syntax = raised(caught_from(compile, "a b", "file.py", "exec"), codec)
    assert (syntax.filename, syntax.lineno, syntax.offset) == ("file.py", 1, 3)
    assert str(syntax) == str(caught_from(compile, "a b", "file.py", "exec"))
    attribute = raised(caught_from(getattr, Unregistered(), "colour"), codec)
    assert (type(attribute), attribute.name, attribute.obj) == (AttributeError, "colour", None)
    name = raised(caught_from(eval, "unknown_name"), codec)
    assert (type(name), name.name) == (NameError, "unknown_name")
    stop = raised(StopIteration((1, 2)), codec)
    assert (type(stop), stop.value) == (StopIteration, (1, 2))
    assert str(raised(KeyError("k"), codec)) == "'k'"


def test_every_builtin_error_arrives_as_itself(codec: Serializer) -> None:
    for cls in vars(builtins).values():
        if not (isinstance(cls, type) and issubclass(cls, Exception)) or issubclass(
            cls, (UnicodeError, ExceptionGroup)
        ):
            continue
        error = raised(cls("a text"), codec)
        assert type(error) is cls
        assert error.args == ("a text",)
        assert same(codec.decode(codec.encode(cls("a text"))).args, ("a text",))


def test_gpyros_own_errors_arrive_unless_they_are_verdicts() -> None:
    naming = raised(errors.NamingError("no such name", ":Pyro.x"))
    assert type(naming) is errors.NamingError
    assert naming.args == ("no such name", ":Pyro.x")
    serialization = raised(errors.SerializationError("bad", "args[0]"))
    assert (type(serialization), serialization.path) == (errors.SerializationError, "args[0]")
    remote = raised(errors.RemoteError("app.Error", "text", {"a": (1,)}))
    assert (remote.name, remote.text, remote.attributes) == ("app.Error", "text", {"a": (1,)})
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, errors.ProtocolError):
            error = raised(cls("text"))
            assert type(error) is errors.RemoteError
            assert error.name == f"gpyro.errors.{cls.__name__}"


def test_a_verdict_cannot_be_smuggled_in() -> None:
    body = CODEC.encode_error(ValueError(1), [])
    assert type(CODEC.decode_error(body.replace(b"\xaaValueError", b"\xaaSystemExit"))) is errors.RemoteError
    forged = exceptions.Record("gpyro.errors.NotSentError", "t", [], {}, {}, [], None, None, False, None, [])
    assert type(exceptions.from_records([list(forged)], Registry())) is errors.RemoteError
    point = forged._replace(name="gpyro.testing.samples.Point")
    assert type(exceptions.from_records([list(point)], registry_of_samples())) is errors.RemoteError


def test_init_is_not_called_and_attributes_arrive(codec: Serializer) -> None:
    error = raised(AppError(3, hint="h"), codec)
    assert (error.args, error.code, error.hint) == (("code 3",), 3, "h")


def test_slots_of_exceptions_arrive() -> None:
    class Slotted(Exception):
        __slots__ = ("extra",)

    registry = Registry()
    registry.register(Slotted)
    original = Slotted(1)
    original.extra = (2,)
    assert raised(original, MsgpackSerializer(registry)).extra == (2,)


def test_functions_of_the_user_make_the_exception() -> None:
    class Coded(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(f"code {code}")
            self.code = code

    registry = Registry()
    registry.register(Coded, to_state=lambda error: error.code, from_state=Coded)
    codec = MsgpackSerializer(registry)
    original = Coded(5)
    original.__cause__ = KeyError("why")
    error = raised(original, codec)
    assert (type(error), error.code, repr(error.__cause__)) == (Coded, 5, "KeyError('why')")


def test_what_cannot_travel_is_replaced_or_left_out() -> None:
    original = ValueError(1, Unregistered(), (2,))
    vars(original).update(fine={1: 2}, bad=Unregistered())
    error = raised(original)
    assert error.args[0] == 1
    assert "Unregistered object" in error.args[1]
    assert error.args[2] == (2,)
    assert error.fine == {1: 2}
    assert not hasattr(error, "bad")


def test_an_exception_as_a_value(codec: Serializer) -> None:
    value = [ValueError(1, (2,)), {"e": AppError(1, hint="x")}, ExceptionGroup("g", [KeyError(1)])]
    arrived = codec.decode(codec.encode(value))
    assert same(arrived, value)
    assert not hasattr(arrived[0], "__notes__")
    with pytest.raises(errors.SerializationError, match="UnregisteredError is not registered; add:") as caught:
        codec.encode([ExceptionGroup("g", [ValueError(), UnregisteredError()])])
    assert caught.value.path == "result[0].exceptions[1]"
    with pytest.raises(errors.SerializationError) as caught:
        codec.encode([ValueError(0, [Unregistered()])])
    assert caught.value.path == "result[0].args[1][0]"
    assert type(codec.decode(codec.encode(SystemExit(1)))) is errors.RemoteError
    outer = ValueError()
    outer.__cause__ = UnregisteredError("inner")
    assert codec.decode(codec.encode(outer)).__cause__.text == "inner"


def test_chains_are_bounded_and_may_be_circular() -> None:
    first = error = ValueError(0)
    for number in range(1, 50):
        error.__context__ = ValueError(number)
        error = error.__context__
    error.__context__ = first
    arrived: Any = raised(first)
    length = 0
    while arrived is not None:
        length += 1
        arrived = arrived.__context__
    assert length == exceptions.MAX_CHAIN + 1


def test_a_context_that_was_suppressed_stays_so() -> None:
    error = ValueError(1)
    error.__context__ = KeyError(2)
    assert not raised(error).__suppress_context__
    error.__suppress_context__ = True
    assert raised(error).__suppress_context__
    assert same(raised(error).__context__, KeyError(2))


def test_a_group_whose_members_go_round_in_circles() -> None:
    member = ValueError(1)
    inner = ExceptionGroup("inner", [member])
    member.__cause__ = inner
    group = ExceptionGroup("outer", [member, inner])
    member.__context__ = group
    arrived = raised(group)
    assert same(arrived.exceptions[0].args, (1,))
    assert len(arrived.exceptions) == 2
    many = ExceptionGroup("many", [ValueError(number) for number in range(5_000)])
    assert 0 < len(raised(many).exceptions) < 1_000


def test_a_second_hop_adds_no_second_copy_of_the_first_traceback() -> None:
    first = CODEC.decode_error(CODEC.encode_error(ValueError(1), ["first\n"]))
    second = CODEC.decode_error(CODEC.encode_error(first, ["second\n"]))
    assert second.__notes__ == [remote_note(["second\n"])]
    assert second.remote_stacktrace == ["second\n"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"encoding": "u", "object": 1, "start": 0, "end": 1, "reason": "r"},
        {"encoding": "u", "object": b"abc", "start": -100, "end": -99, "reason": "r"},
        {"encoding": "u", "object": b"abc", "start": 2**70, "end": 2**70 + 1, "reason": "r"},
        {"encoding": 1, "object": b"abc", "start": 0, "end": 1, "reason": []},
    ],
)
def test_forged_fields_do_no_harm(fields: dict[str, Any]) -> None:
    record = exceptions.Record("UnicodeDecodeError", "t", [], fields, {}, [], None, None, False, None, [])
    error = exceptions.from_records([list(record)], Registry())
    assert type(error) is errors.RemoteError
    assert str(error) == "UnicodeDecodeError: t"


def test_forged_attributes_do_no_harm() -> None:
    attributes = {"__class__": 1, "__traceback__": 2, "__dict__": {}, "args": 3, "with_traceback": 4}
    record = exceptions.Record("ValueError", "t", [1], {"errno": 1}, attributes, [], None, None, False, None, [])
    error = exceptions.from_records([list(record)], Registry())
    assert type(error) is ValueError
    assert error.args == (1,)
    assert error.__traceback__ is None
    for name in ("SyntaxError", "OSError", "ImportError", "StopIteration", "KeyError", "ExceptionGroup", "Exception"):
        forged = record._replace(name=name, fields={"lineno": [], "errno": {}, "msg": (), "value": 1, "text": 2})
        str(exceptions.from_records([list(forged)], Registry()))


def test_what_the_contract_leaves_out_pickle_has_too() -> None:
    assert pickle.loads(pickle.dumps(ValueError(1))).args == (1,)


def test_a_frozen_dataclass_may_be_an_exception() -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    registry = Registry()
    registry.register(Frozen, name="app.Frozen")
    codec = MsgpackSerializer(registry)
    error = Frozen(3)
    BaseException.__setattr__(error, "__notes__", ["noted"])
    BaseException.__setattr__(error, "__cause__", KeyError("cause"))
    arrived = codec.decode_error(codec.encode_error(error, ["lines\n"]))
    assert type(arrived) is Frozen
    assert (arrived.code, arrived.args) == (3, (3,))
    assert isinstance(arrived.__cause__, KeyError)
    assert arrived.__notes__[0] == "noted"


def groups(*members: list[int]) -> list[list[Any]]:
    """Records of groups with those members, and of an exception at the end."""
    records: list[list[Any]] = [
        ["ExceptionGroup", "t", ["m"], {}, {}, [], None, None, False, links, []] for links in members
    ]
    return [*records, ["ValueError", "t", [], {}, {}, [], None, None, False, None, []]]


def test_groups_that_stand_in_each_other_again_and_again_are_refused() -> None:
    endless = groups(*([number + 1, number + 1] for number in range(40)))
    with pytest.raises(errors.SerializationError, match="stand in each other too often"):
        exceptions.from_records(endless, Registry())
    with pytest.raises(errors.SerializationError, match="stand in each other too often"):
        exceptions.from_records(groups(*([number + 1] for number in range(900))), Registry())
    shared = exceptions.from_records(groups([1, 1, 2], [2, 2]), Registry())
    assert isinstance(shared, ExceptionGroup)
    assert shared.exceptions[0] is shared.exceptions[1]


def test_a_report_of_groups_that_share_their_members_gets_through() -> None:
    members = [ValueError(number) for number in range(400)]
    group = ExceptionGroup("all", [ExceptionGroup(f"group {number}", members) for number in range(200)])
    arrived = raised(group)
    assert isinstance(arrived, ExceptionGroup)
    assert len(arrived.exceptions) > 10


def test_a_syntax_error_points_to_no_place_that_is_far_away() -> None:
    fields = {
        "msg": "m",
        "filename": "f",
        "lineno": 3,
        "offset": 2,
        "text": "abc",
        "end_offset": 10**9,
        "end_lineno": 3,
    }
    record = exceptions.Record("SyntaxError", "t", ["m"], fields, {}, [], None, None, False, None, [])
    error = exceptions.from_records([list(record)], Registry())
    assert (error.lineno, error.offset, error.end_offset) == (3, 2, None)  # type: ignore[attr-defined]
    assert len("".join(traceback.format_exception(error))) < 1_000


def test_of_a_long_traceback_the_end_is_in_the_note() -> None:
    lines = [f"line {number}\n" for number in range(100_000)]
    error = CODEC.decode_error(CODEC.encode_error(ValueError(1), lines))
    assert error.remote_stacktrace == lines
    (note,) = error.__notes__
    assert len(note) < 200_000
    assert "\n | line 99999\n" in note
    assert "\n | ... (what came before is left out)\n" in note
    (note,) = CODEC.decode_error(CODEC.encode_error(ValueError(1), ["\x01" * 1_000_000])).__notes__
    assert len(note) < 500_000
