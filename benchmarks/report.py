"""How the results of a benchmark are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Row:
    """One line of the table."""

    work: str
    measured: str
    aim: str = ""
    met: bool | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


def spread(values: list[float], form: str = ".2f") -> str:
    """The median with the extremes."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def absolute(results: list[Any]) -> str:
    """Rate and latency: the medians of the rounds."""
    rate = median(result["calls_per_second"] for result in results)
    p50, p99 = (median(result["latency_ms"][name] for result in results) for name in ("p50", "p99"))
    return f"{rate:,.0f} calls/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    verdicts = {True: "met", False: "NOT met", None: ""}
    cells = [("work", "measured", "aim", "verdict")]
    cells += [(row.work, row.measured, row.aim, verdicts[row.met]) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


@dataclass
class Measure:
    """One line of a table of reliability: a number, and what it should be.

    Attributes:
        id: the row that it belongs to.
        what: what is measured.
        value: the number, or a text.
        unit: its unit.
        target: what it should be, for people; empty where it is only told.
        passed: whether it is; None where it is only told.
        numbers: more of it, for programs.
    """

    id: str
    what: str
    value: float | str
    unit: str = ""
    target: str = ""
    passed: bool | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


def shown(value: float) -> str:
    """A number with as many digits as matter."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:,.3g}"


def at_most(id_: str, what: str, value: float, unit: str, limit: float, **numbers: Any) -> Measure:
    """A number that should be no larger than `limit`."""
    return Measure(id_, what, value, unit, f"at most {shown(limit)}", value <= limit, numbers)


def at_least(id_: str, what: str, value: float, unit: str, limit: float, **numbers: Any) -> Measure:
    """A number that should be no smaller than `limit`."""
    return Measure(id_, what, value, unit, f"at least {shown(limit)}", value >= limit, numbers)


def measures(found: list[Measure]) -> str:
    """The measures as a Markdown table."""
    verdicts = {True: "pass", False: "FAIL", None: ""}
    cells = [("row", "what", "value", "unit", "target", "")]
    for one in found:
        value = one.value if isinstance(one.value, str) else shown(one.value)
        cells.append((one.id, one.what, value, one.unit, one.target, verdicts[one.passed]))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
