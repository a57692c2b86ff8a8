"""What the scripts do before there is anything of gpyro."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.programs import running
from tests.support import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("gpyro-*"))

# Stands in for what takes its time to load; the signal comes while it does.
SLOW = """
import time
print("loading", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_ctrl_c_while_it_loads_ends_it_without_a_word(tmp_path, name):
    (tmp_path / "greenlet.py").write_text(SLOW)
    # A shell that runs the tests in the background has made all its children ignore Ctrl-C.
    script = f"import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); runpy.run_path({name!r})"
    environment = {"PYTHONPATH": str(tmp_path)}
    with running([sys.executable, "-c", script], environment, ROOT / "scripts") as loading:
        assert loading.line() == "loading"
        loading.send_signal(signal.SIGINT)
        assert loading.end() == (-signal.SIGINT, "", "")


def test_all_are_installed():
    text = (ROOT / "setup.cfg").read_text()
    assert [name for name in SCRIPTS if f"    scripts/{name}\n" not in text] == []
