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
