"""What the README and the manual show is what happens."""

from __future__ import annotations

import re

import pytest

from gpyro.items import as_markdown
from gpyro.settings import Config
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


@pytest.mark.parametrize(
    "block", blocks("docs/manual.md") + blocks("docs/configuration.md"), ids=lambda block: block.split("\n")[2][:30]
)
def test_the_manuals_blocks_are_programs(block: str):
    compile(block, "docs", "exec")


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


def test_the_manuals_exchange():
    example = next(block for block in blocks("docs/manual.md") if "class Exchange" in block)
    assert run_python(example + "daemon.stop()\n") == (0, "['tin is at 12']\n", "")


def test_the_tables_of_configuration_items_are_the_code_s():
    assert as_markdown() in (ROOT / "docs/configuration.md").read_text()


def test_the_example_of_a_configuration_file_is_one(tmp_path):
    document = (ROOT / "docs/configuration.md").read_text()
    example = re.search(r"\n\n((?:    .*\n)+)", document.partition("## The configuration file")[2])
    assert example is not None
    (tmp_path / "Pyro.conf").write_text(example[1])
    config = Config({"PYRO_CONFIG_FILE": str(tmp_path / "Pyro.conf"), "PYRO_STORAGE": "/store"})
    assert (config.PYRO_HOST, config.PYRO_PUBLISHHOST) == ("0.0.0.0", "rpc.example.org")
    assert config.PYRO_LOGFILE == "/store/rpc.log"


def test_the_example_of_a_log(tmp_path):
    example = next(block for block in blocks("docs/configuration.md") if "UserLogger" in block)
    assert run_python(example, environment={"PYRO_STORAGE": str(tmp_path)}) == (0, "", "")
    lines = (tmp_path / "Pyro_userlog").read_text().splitlines()
    assert [line.partition("] ** ")[2] for line in lines[:3]] == [
        "NOTE ** shop ** order 17 is paid",
        "WARN ** shop ** the stock runs low",
        "ERR! ** shop ** no connection",
    ]
    assert lines[3:] == ["as it is, at any level, and without a line end"]
