"""The examples of the documents do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import ROOT, run_python


def blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def expected(block: str) -> str:
    """What the comments behind the statements of a block say that it prints."""
    return "".join(f"{said}\n" for said in re.findall(r"^(?!class|def).*\S +# (\S.*)$", block, re.MULTILINE))


PRELUDE, *EXAMPLES = blocks("docs/calls.md")


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: block.split("\n")[0][:40])
def test_examples_of_what_a_call_can_be(block: str) -> None:
    code, out, err = run_python(f"{PRELUDE}\n{block}\ndaemon.stop(0)\n")
    assert (code, out) == (0, expected(block)), err


def test_the_example_of_stores(tmp_path: Path) -> None:
    block = blocks("docs/stores.md")[0].replace("names.db", str(tmp_path / "names.db"))
    code, out, err = run_python(block)
    assert (code, out.splitlines()) == (0, ["True", "1 2"]), err


EVENTS_PRELUDE, *EVENTS = blocks("docs/events.md")[1:]


@pytest.mark.parametrize("block", EVENTS, ids=lambda block: block.split("\n")[0][:40])
def test_examples_of_events(block: str) -> None:
    said = "".join(f"{line}\n" for line in re.findall(r"^# (.*)$", block, re.MULTILINE))
    code, out, err = run_python(f"{EVENTS_PRELUDE}\nprint('begun')\n{block}\nstarter.stop()\n")
    assert (code, out.partition("begun\n")[2]) == (0, said), err
