from __future__ import annotations

import io

from gpyro import control_output
from gpyro.control_output import Output, as_json, date, printable, table


def test_printable():
    assert printable("plain text ÄÖ") == "plain text ÄÖ"
    assert printable("\x1b[31mred\x07\nnext \u202e") == r"\x1b[31mred\x07\nnext \u202e"
    assert printable("\udc80") == r"\udc80"


def test_tables_of_any_length(monkeypatch):
    monkeypatch.setattr(control_output, "LINES_AT_ONCE", 2)
    assert list(table([("a", "b"), ("long", "c"), ("a", "\x1b"), ("longest", "e"), ("a", "f")])) == [
        "a     b",
        "long  c",
        r"a        \x1b",
        "longest  e",
        "a        f",
    ]
    assert list(table([])) == []


def test_an_output_that_knows_few_characters():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Output(False, stream).text("Ä")
    Output(True, stream).object(meta="Ä\x7f")
    assert raw.getvalue() == b'\\xc4\n{"meta": "\\u00c4\\u007f"}\n'


def test_values_that_json_has_not():
    assert as_json({"a": (1, None)}) == {"a": (1, None)}
    assert as_json(float("nan")) == "nan"
    assert as_json({(1, 2): 3}) == "{(1, 2): 3}"
    assert date(None) == "-"
    assert date("nonsense") == "nonsense"
