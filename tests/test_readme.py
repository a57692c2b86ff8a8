"""What the README and the manual show is what happens."""

from __future__ import annotations

import re

import pytest

from gpyro.items import as_markdown
from tests.support import ROOT, finish, python_process, run_python


def blocks(document: str) -> list[str]:
    """The Python blocks of a document."""
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def test_the_readmes_server_and_client():
    server, client = (block for block in blocks("README.md") if block.startswith("# "))
    assert server.startswith("# server.py")
    assert client.startswith("# client.py")
    # The same lines, on a port that nobody has, and telling it.
    server = server.replace("port=7766", "port=0").replace(
        'print(daemon.connect(Greeter(), "greeter"))',
        'print(daemon.connect(Greeter(), "greeter"), daemon.port, flush=True)',
    )
    with python_process(server) as process:
        assert process.stdout is not None
        uri, port = process.stdout.readline().split()
        assert uri.startswith(f"PYRO://127.0.0.1:{port}/")
        code, out, err = run_python(client.replace("7766", port))
        assert (code, out, err) == (0, "Hello world\n", "")
        process.terminate()
        assert finish(process) == (0, "", "")


@pytest.mark.parametrize("block", blocks("docs/manual.md"), ids=lambda block: block.split("\n")[2][:30])
def test_the_manuals_blocks_are_programs(block: str):
    compile(block, "docs/manual.md", "exec")


def test_the_manuals_account():
    server, *_ = blocks("docs/manual.md")
    bank = next(block for block in blocks("docs/manual.md") if "class Bank" in block)
    program = server.replace("core.Daemon()", "core.Daemon(port=0, norange=1)").replace("print(", "uri = (")
    program = program[: program.index("try:")]
    program += bank + (
        "daemon.start()\n"
        "account = core.getProxyForURI(uri)\n"
        "assert account.deposit(10) == 10\n"
        "bank = core.getProxyForURI(daemon.connect(Bank(), 'bank'))\n"
        "assert bank.open().deposit(5) == 5\n"
        "assert core.getAttrProxyForURI(uri).balance == 10\n"
        "daemon.stop()\n"
        "print('done')\n"
    )
    assert run_python(program) == (0, "done\n", "")


def test_the_manuals_table_of_configuration_items_is_the_code_s():
    assert as_markdown() in (ROOT / "docs/manual.md").read_text()
