"""docs/wire.md and the code say the same: rule numbers, and every table that has numbers in it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpyro.errors import WireError
from gpyro.testing.serializers import BoundMessage
from gpyro.values import MsgpackSerializer, Registry, codes
from gpyro.values.bound import BoundRegistry
from gpyro.values.buffers import Aside
from gpyro.wire import foreign
from gpyro.wire.buffers import NUMBER, pack_announcement
from gpyro.wire.connection import Connection, State, limits_for
from gpyro.wire.frames import (
    BODY_LIMITS,
    FLAG_BUFFERS,
    FLAG_REFERENCES,
    IGNORABLE,
    MAGIC,
    MESSAGE,
    METADATA_LIMIT,
    Kind,
    Refusal,
    Rejection,
    pack,
)
from gpyro.wire.hello import Hello
from gpyro.wire.memory import BYTES
from gpyro.wire.references import FUNCTION, pack_table
from tests.support import ROOT

DOCUMENT = (ROOT / "docs" / "wire.md").read_text()
DEFINITION = re.compile(r"^\*\*([A-Z]\d+)\*\* ", re.MULTILINE)
RULE = re.compile(r"[A-Z]\d+")
# [F1], [W1 to W4], [F1, F3]
CITATION = re.compile(r"\[([A-Z]\d+(?:(?:, | to | and )[A-Z]\d+)*)\]")

DEFINED = DEFINITION.findall(DOCUMENT)


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "gpyro").rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text()


def expand(citation: str) -> Iterator[str]:
    rules = RULE.findall(citation)
    if " to " in citation:
        first, last = rules
        assert first[0] == last[0]
        rules = [f"{first[0]}{number}" for number in range(int(first[1:]), int(last[1:]) + 1)]
    yield from rules


def cited() -> Iterator[tuple[str, str]]:
    """Where a comment or docstring cites a rule, and which."""
    for name, text in sources():
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                for found in CITATION.finditer(token.string):
                    for rule in expand(found[1]):
                        yield f"{name}:{token.start[0]}", rule


def wire_errors(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "WireError":
                yield node


def constants(node: ast.expr) -> list[object]:
    """What an expression made of constants can be."""
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return [None]


def raised() -> Iterator[tuple[str, object]]:
    """Where a WireError is made, and with which rule."""
    for name, text in sources():
        for node in wire_errors(ast.parse(text)):
            rules = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "rule")]
            for rule in constants(rules[0]) if rules else [None]:
                yield f"{name}:{node.lineno}", rule


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first line begins so."""
    lines = DOCUMENT[DOCUMENT.index(f"\n{heading}") + 1 :].splitlines()
    table = lines[2 : next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


# ---- rules


def test_each_rule_is_defined_once() -> None:
    assert len(DEFINED) > 30
    assert [rule for rule, count in Counter(DEFINED).items() if count > 1] == []


def test_rules_are_numbered_without_gaps() -> None:
    numbers: dict[str, list[int]] = {}
    for rule in DEFINED:
        numbers.setdefault(rule[0], []).append(int(rule[1:]))
    assert numbers == {letter: list(range(1, len(found) + 1)) for letter, found in numbers.items()}


def test_the_document_refers_to_rules_that_exist() -> None:
    mentioned = set(re.findall(r"\b([A-Z]\d)\b(?!\*)", re.sub(r"```.*?```", "", DOCUMENT, flags=re.DOTALL)))
    assert mentioned - set(DEFINED) == set()


def test_every_rule_that_the_code_cites_exists() -> None:
    found = list(cited())
    assert len(found) > 20
    assert [f"{where} cites {rule}" for where, rule in found if rule not in DEFINED] == []


def test_every_wire_error_names_a_rule_that_exists() -> None:
    found = list(raised())
    assert len(found) > 15
    assert [f"{where} raises {rule!r}" for where, rule in found if rule not in DEFINED] == []


def test_subclasses_name_their_rule_themselves() -> None:
    assert WireError.__subclasses__() == [foreign.ForeignProtocolError]
    assert foreign.ForeignProtocolError("text").rule in DEFINED


def test_how_citations_are_read() -> None:
    assert [list(expand(found[1])) for found in CITATION.finditer("a [F1], [W1 to W3] x[A] [S1, S2] [Frame]")] == [
        ["F1"],
        ["W1", "W2", "W3"],
        ["S1", "S2"],
    ]
    tree = ast.parse("raise WireError('a'); raise errors.WireError('a', 'F1' if x else f(y))")
    assert [[constants(rule) for rule in node.args[1:]] for node in wire_errors(tree)] == [[], [["F1", None]]]


# ---- tables


def test_the_table_of_kinds() -> None:
    documented = {
        int(number, 16): (name, MESSAGE if limit == "message" else int(limit))
        for number, name, limit, *_ in rows("| number | kind |")
    }
    assert documented == {int(kind): (kind.name, limit) for kind, limit in BODY_LIMITS.items()}


@pytest.mark.parametrize("connecting", [False, True])
def test_the_table_of_states(connecting: bool) -> None:
    kinds = {name: (int(number, 16), by) for number, name, _, by, _ in rows("| number | kind |")}
    usual = {number for number, by in kinds.values() if by != "reserved" and number >= Kind.BUFFERS}
    usual -= {Kind.CHUNK}  # has a rule of its own
    table = {state: (accepting, own) for state, own, accepting in rows("| state of the receiver |")}
    for state in State:
        cell = table[state.name.lower()][connecting]
        if state is State.ESTABLISHED:
            expected = usual | set(range(IGNORABLE, 256))
        else:
            expected = {kinds[name][0] for name in re.findall(r"[A-Z]{2,}", cell)}
        limits = limits_for(connecting, state, 1000)
        assert {kind for kind in range(256) if limits[kind] >= 0} == expected


def test_who_sends_what_in_the_opening() -> None:
    by = {name: end for _, name, _, end, _ in rows("| number | kind |")}
    assert by["HELLO"] == "connecting end"
    assert by["WELCOME"] == by["REFUSED"] == "accepting end"


@pytest.mark.parametrize(("heading", "enumeration"), [("REFUSED and GOAWAY", Refusal), ("REJECTED says", Rejection)])
def test_the_tables_of_codes(heading: str, enumeration: type[Refusal | Rejection]) -> None:
    part = DOCUMENT[DOCUMENT.index(heading) :]
    part = part[part.index("| code |") :]
    part = part[: part.index("\n\n")]
    documented = {int(code): name for code, name in re.findall(r"^\| (\d+) \| (\w+) \|", part, re.MULTILINE)}
    assert documented == {int(code): code.name for code in enumeration}


def test_the_fields_of_a_hello() -> None:
    documented = [row[0].strip("`") for row in rows("| field | value |")]
    assert documented == list(Hello.__dataclass_fields__)


def test_the_table_of_foreign_protocols() -> None:
    table = rows("| first bytes |")
    http = re.findall(r"`([^`]+)`", table[0][0])
    assert {first.encode() for first in http} == set(foreign._HTTP_METHODS)
    alert = re.search(r"`([0-9a-f ]+)`", table[1][2])
    assert alert is not None
    assert foreign.recognise(b"\x16\x03\x01\x00").reply == bytes.fromhex(alert[1])


def test_the_table_of_extension_values() -> None:
    documented = {int(code): (name, state.startswith("raw")) for code, name, state in rows("| code | name | state |")}
    known = {value: name for name, value in vars(codes).items() if name.isupper() and isinstance(value, int)}
    assert documented == {code: (name, code in codes.RAW_CODES) for code, name in known.items()}


def test_numbers_in_the_text() -> None:
    assert f"of at most {METADATA_LIMIT:,} bytes" in DOCUMENT
    assert "`67 50 79 72` (`gPyr`)" in DOCUMENT
    assert bytes.fromhex("67 50 79 72") == MAGIC


# ---- examples


def example(after: str) -> bytes:
    """The bytes of the example that follows `after`: hexadecimal, with explanations behind two spaces, or JSON."""
    block = DOCUMENT[DOCUMENT.index(after) :].split("```")[1].strip("\n")
    lines = [line if line.startswith("{") else line.split("  ")[0] for line in block.splitlines()]
    return b"".join(line.encode() if line.startswith("{") else bytes.fromhex(line) for line in lines)


def test_the_example_of_an_opening() -> None:
    data = example("A client that serves no objects, and has nothing to prove, says:")
    assert data == Connection(True, Hello(agent="gpyro/0.1.0")).hello()


def test_the_example_of_a_call() -> None:
    call = bytes.fromhex("93 a4 6563686f 91 01 80")
    assert example("A session with the object") == (
        pack(Kind.OPEN, 0, 1, b"obj")
        + pack(Kind.CALL, 1, 1, call)
        + pack(Kind.RESULT, 1, 1, b"\x01")
        + pack(Kind.CLOSE, 0, 1)
    )


def test_the_example_of_a_reference() -> None:
    message = BoundMessage()
    serializer = MsgpackSerializer().over(BoundRegistry(Registry(), lambda: message))
    table = pack_table(1, [(FUNCTION, "f")])
    call = serializer.encode_call("met", (print,), {})
    assert example("an entry need not be used.") == pack(Kind.CALL, 1, 1, table + call, FLAG_REFERENCES)


def test_the_example_of_buffers() -> None:
    message = BoundMessage()
    serializer = MsgpackSerializer().over(BoundRegistry(Registry(), lambda: message))
    call = serializer.encode_call("put", (Aside([0, "bytes"]),), {})
    assert example("all of them in a buffer, in two pieces:") == (
        pack_announcement(1, [(BYTES, 5)])
        + pack(Kind.CHUNK, 1, 0, b"abc")
        + pack(Kind.CHUNK, 1, 0, b"de")
        + pack(Kind.CALL, 1, 1, NUMBER.pack(1) + call, FLAG_BUFFERS)
    )


def test_the_document_keeps_to_its_width() -> None:
    lines = re.sub(r"^(\||\{).*$", "", DOCUMENT, flags=re.MULTILINE).splitlines()
    assert [line for line in lines if len(line) > 120] == []


def test_there_is_one_test_file_for_each_source_file() -> None:
    wire = Path(foreign.__file__).parent
    names = {path.stem for path in wire.glob("*.py")} - {"__init__"}
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert names <= tested
