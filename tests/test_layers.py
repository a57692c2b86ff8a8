"""The floors of the house: who may import whom, and how large a room may be.

The imports of every file are read, not executed. Nothing imports upwards; ``from gpyro import x`` is an import of
``gpyro.x`` where that is a module, else one of ``gpyro`` itself, which stands on the top floor. Imports inside
functions count like others; those under ``if TYPE_CHECKING:`` do not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "gpyro"

# A module or package (with all that is in it): its floor. The longest name that fits counts.
ROOMS = {
    0: "errors constants remote_traceback uri names guid",
    1: "wire values auth exposure store_contract namespace topics",
    2: "settings items item_kinds item_table item_sources config_file startup tracebacks logs limited_log argparser "
    "deadline",
    3: "net",
    4: "tls locks observing context objects entries instances synchronize dispatch failures batches thread_pool calls "
    "streams answers exports",
    5: "pyrouri validators sessions remote adapter proxy callbacks futures batching plugins "
    "termination servant reaping registrations hosting rounds hub_daemon",
    6: "naming naming_server naming_proxy name_view name_cache locator starter stores discovery "
    "command_line naming_tool event_tool interop "
    "service_starter eventsvc events event_census event_link event_routes event_receiver event_admission "
    "event_distribution event_server event_clients event_starter",
    7: "core configuration util protocol testing test doctor checkup conversation control control_output nsc nsc_watch "
    "xnsc wxnsc esc esc_tail",
}
FLOORS = {"gpyro": 7} | {f"gpyro.{room}": floor for floor, rooms in ROOMS.items() for room in rooms.split()}

MAY_IMPORT = {
    0: {0},
    1: {0, 1},
    2: {0, 2},
    3: {0, 1, 2, 3},
    4: {0, 1, 2, 4},
    5: {0, 1, 2, 3, 4, 5},
    6: {0, 1, 2, 3, 4, 5, 6},
    7: {0, 1, 2, 3, 4, 5, 6, 7},
}

# Upward edges that are wanted, each only inside a function.
ALLOWED_INSIDE_FUNCTIONS = {
    # Sessions resolve PYRONAME URIs.
    ("gpyro.sessions", "gpyro.name_cache"),
}

# Floor 1 gets its bytes, its time and its settings handed in.
NOT_ON_FLOOR_1 = frozenset(
    (
        *("asyncio", "concurrent", "multiprocessing", "os", "queue", "sched", "select", "selectors", "signal"),
        *("socket", "socketserver", "ssl", "subprocess", "_thread", "threading", "time"),
    )
)

# A third-party module: the floors it may be used on. All others are for floor 1, and each for one file only.
THIRD_PARTY_FLOORS = {"gevent": {3, 4, 5, 6, 7}, "greenlet": {3, 4, 5, 6, 7}, "docopt": {6, 7}, "pytest": {7}}

MAX_LINES = 500
MAX_FUNCTION_LINES = 60


# ---- reading


@dataclass(frozen=True)
class Import:
    """One import of a module, as found in a file."""

    importer: str
    module: str
    line: int
    inside_function: bool


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_tree(root: Path) -> dict[str, str]:
    """Module name: source, for a package on the disk."""
    return {module_name(path, root): path.read_text("utf-8") for path in sorted(root.rglob("*.py"))}


def is_package(name: str, known: Iterable[str]) -> bool:
    return any(other.startswith(name + ".") for other in known)


def imports_of(name: str, source: str, known: Iterable[str], package: bool) -> Iterator[Import]:
    known = set(known)
    yield from _walk(ast.parse(source), name, known, package, inside=False)


def _walk(node: ast.AST, name: str, known: set[str], package: bool, inside: bool) -> Iterator[Import]:
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        for statement in node.orelse:
            yield from _walk(statement, name, known, package, inside)
        return
    for module in _modules(node, name, known, package):
        yield Import(name, module, getattr(node, "lineno", 0), inside)
    inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, name, known, package, inside)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _modules(node: ast.AST, name: str, known: set[str], package: bool) -> Iterator[str]:
    """The modules that one node of the tree imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = name.split(".") if package else name.split(".")[:-1]
            above = above[: len(above) - (node.level - 1)]
            base = ".".join([*above, base] if base else above)
        wholes = (f"{base}.{alias.name}" for alias in node.names)
        yield from sorted({whole if whole in known else base for whole in wholes})
    elif isinstance(node, ast.Call) and node.args:
        # import_module("x"), importlib.import_module("x"), __import__("x")
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        argument = node.args[0]
        if (
            function in ("import_module", "__import__")
            and isinstance(argument, ast.Constant)
            and isinstance(argument.value, str)
        ):
            yield argument.value


# ---- judging


def floor_of(module: str) -> int | None:
    """The floor of a module of gpyro, None for one that nobody has put anywhere."""
    if module == "gpyro":
        return FLOORS["gpyro"]
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        floor = FLOORS.get(".".join(parts[:length]))
        if floor is not None:
            return floor
    # dispatch.py may become dispatch_oneway.py and so on.
    return 4 if parts[1].startswith("dispatch") else None


def is_ours(module: str) -> bool:
    return module == "gpyro" or module.startswith("gpyro.")


def is_allowed(found: Import) -> bool:
    return found.inside_function and any(
        found.importer == importer and (found.module == module or found.module.startswith(module + "."))
        for importer, module in ALLOWED_INSIDE_FUNCTIONS
    )


def all_imports(tree: Mapping[str, str]) -> list[Import]:
    return [
        found
        for name, source in tree.items()
        for found in imports_of(name, source, tree, name == "gpyro" or is_package(name, tree))
    ]


def homeless(tree: Mapping[str, str]) -> list[str]:
    return [f"{name} stands on no floor; give it one in FLOORS" for name in tree if floor_of(name) is None]


def upward_edges(tree: Mapping[str, str]) -> list[str]:
    wrong = []
    for found in all_imports(tree):
        here, there = floor_of(found.importer), floor_of(found.module) if is_ours(found.module) else None
        if here is None or there is None or there in MAY_IMPORT[here] or is_allowed(found):
            continue
        wrong.append(f"{found.importer}:{found.line} (floor {here}) imports {found.module} (floor {there})")
    return wrong


def cycles(tree: Mapping[str, str]) -> list[str]:
    """One line per group of modules that import each other in a circle."""
    edges: dict[str, set[str]] = {name: set() for name in tree}
    for found in all_imports(tree):
        if found.module in tree and not is_allowed(found):
            edges[found.importer].add(found.module)
    reach = {name: _reachable(name, edges) for name in tree}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in tree}
    return [" <-> ".join(group) for group in sorted(groups) if group]


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [*edges[start]]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(edges[name])
    return seen


def forbidden_imports(tree: Mapping[str, str]) -> list[str]:
    wrong = []
    users: dict[str, set[str]] = {}
    for found in all_imports(tree):
        floor, top = floor_of(found.importer), found.module.split(".")[0]
        where = f"{found.importer}:{found.line}"
        if is_ours(found.module) or floor is None:
            continue
        if top in sys.stdlib_module_names:
            if floor == 1 and top in NOT_ON_FLOOR_1:
                wrong.append(f"{where} imports {found.module}, which floor 1 must not")
        elif top in THIRD_PARTY_FLOORS:
            if floor not in THIRD_PARTY_FLOORS[top]:
                wrong.append(f"{where} imports {found.module}, which floor {floor} must not")
        elif floor in (0, 2):
            wrong.append(f"{where} imports {found.module}; floor {floor} has the standard library only")
        else:
            users.setdefault(top, set()).add(found.importer)
    for top, importers in users.items():
        if len(importers) > 1:
            wrong.append(f"{top} is imported in more than one file: {', '.join(sorted(importers))}")
    return wrong


def too_large(tree: Mapping[str, str]) -> list[str]:
    wrong = []
    for name, source in tree.items():
        lines = len(source.splitlines())
        if lines > MAX_LINES:
            wrong.append(f"{name} has {lines} lines, more than {MAX_LINES}")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    wrong.append(f"{name}:{node.lineno} {node.name} has {length} lines, more than {MAX_FUNCTION_LINES}")
    return wrong


# ---- the house as it stands


@pytest.fixture(scope="module")
def house() -> dict[str, str]:
    return read_tree(ROOT)


def expect_none(wrong: list[str]) -> None:
    assert not wrong, "\n".join(wrong)


def test_the_house_was_found(house: dict[str, str]) -> None:
    assert {"gpyro", "gpyro.errors", "gpyro.uri", "gpyro.settings"} <= set(house)


def test_every_file_has_a_floor(house: dict[str, str]) -> None:
    expect_none(homeless(house))


def test_nothing_imports_upwards(house: dict[str, str]) -> None:
    expect_none(upward_edges(house))


def test_no_cycles(house: dict[str, str]) -> None:
    expect_none(cycles(house))


def test_no_forbidden_imports(house: dict[str, str]) -> None:
    expect_none(forbidden_imports(house))


def test_files_and_functions_are_of_readable_size(house: dict[str, str]) -> None:
    expect_none(too_large(house))


# ---- the checker itself

GROUND = {
    "gpyro": "from gpyro.core import Daemon\n",
    "gpyro.core": "from gpyro.hub_daemon import Daemon\n",
    "gpyro.hub_daemon": "from gpyro import errors\nfrom gpyro.net.channel import Channel\n",
    "gpyro.net": "",
    "gpyro.net.channel": "import gevent\nfrom gpyro.wire.frames import Frame\n",
    "gpyro.wire": "",
    "gpyro.wire.frames": "import struct\nfrom gpyro.errors import WireError\n",
    "gpyro.errors": "",
    "gpyro.proxy": "",
    "gpyro.sessions": "",
    "gpyro.name_cache": "from gpyro.sessions import Sessions\n",
    "gpyro.naming": "from gpyro.proxy import Proxy\n",
    "gpyro.values": "",
    "gpyro.settings": "",
}


def test_a_sound_house_passes() -> None:
    for check in (homeless, upward_edges, cycles, forbidden_imports, too_large):
        assert check(GROUND) == []


@pytest.mark.parametrize(
    ("module", "source", "reported"),
    [
        ("gpyro.errors", "import gpyro.wire.frames", "gpyro.errors:1 (floor 0) imports gpyro.wire.frames (floor 1)"),
        ("gpyro.errors", "from gpyro.wire import frames", "imports gpyro.wire.frames (floor 1)"),
        ("gpyro.errors", "def f():\n    from .wire.frames import Frame", "gpyro.errors:2 (floor 0)"),
        ("gpyro.wire.frames", "from ..net import channel", "(floor 1) imports gpyro.net.channel (floor 3)"),
        ("gpyro.wire", "from ..net import channel", "imports gpyro.net.channel"),
        ("gpyro.wire", "from ..net.channel import *", "imports gpyro.net.channel"),
        ("gpyro.wire.frames", "from . import frames\nfrom .. import proxy", "frames:2 (floor 1) imports gpyro.proxy"),
        ("gpyro.wire.frames", "from gpyro.settings import config", "imports gpyro.settings (floor 2)"),
        ("gpyro.settings", "from gpyro.values import x", "(floor 2) imports gpyro.values (floor 1)"),
        ("gpyro.tls", "from gpyro.net.channel import Channel", "(floor 4) imports gpyro.net.channel (floor 3)"),
        ("gpyro.dispatch_oneway", "from gpyro.net.channel import Channel", "(floor 4) imports gpyro.net.channel"),
        ("gpyro.proxy", "from gpyro import getProxyForURI", "imports gpyro (floor 7)"),
        ("gpyro.proxy", "import gpyro", "imports gpyro (floor 7)"),
        ("gpyro.naming", "from gpyro.core import Daemon", "imports gpyro.core (floor 7)"),
        ("gpyro.proxy", "import gpyro.naming", "imports gpyro.naming (floor 6)"),
        ("gpyro.hub_daemon", "def f():\n    import gpyro.naming", "imports gpyro.naming (floor 6)"),
        ("gpyro.proxy", "import importlib\nimportlib.import_module('gpyro.naming')", "imports gpyro.naming"),
        ("gpyro.proxy", "if TYPE_CHECKING:\n    pass\nelse:\n    import gpyro.naming", "imports gpyro.naming"),
        ("gpyro.proxy", "try:\n    import gpyro.naming\nexcept ImportError:\n    pass", "imports gpyro.naming"),
    ],
)
def test_upward_edges_are_caught(module: str, source: str, reported: str) -> None:
    wrong = upward_edges({**GROUND, module: source})
    assert len(wrong) == 1
    assert reported in wrong[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gpyro.errors", "if TYPE_CHECKING:\n    from gpyro.proxy import Proxy"),
        ("gpyro.errors", "if typing.TYPE_CHECKING:\n    from gpyro.proxy import Proxy"),
        ("gpyro.sessions", "def f():\n    from gpyro.name_cache import find_name"),
        ("gpyro.sessions", "def f():\n    from gpyro import name_cache"),
        ("gpyro.errors", "import importlib\nimportlib.import_module(name)"),
    ],
)
def test_edges_that_are_allowed(module: str, source: str) -> None:
    assert upward_edges({**GROUND, module: source}) == []
    assert cycles({**GROUND, module: source}) == []


def test_what_is_caught_is_told() -> None:
    with pytest.raises(AssertionError, match=r"gpyro\.attic stands on no floor"):
        expect_none(homeless({"gpyro.attic": ""}))
    expect_none([])


def test_a_file_without_floor_is_caught() -> None:
    assert homeless({**GROUND, "gpyro.attic": ""}) == ["gpyro.attic stands on no floor; give it one in FLOORS"]


def test_cycles_are_caught() -> None:
    tree = {**GROUND, "gpyro.wire.a": "from gpyro.wire import b", "gpyro.wire.b": "from .c import x"}
    assert cycles({**tree, "gpyro.wire.c": "from gpyro.wire.frames import x"}) == []
    assert cycles({**tree, "gpyro.wire.c": "import gpyro.wire.a"}) == ["gpyro.wire.a <-> gpyro.wire.b <-> gpyro.wire.c"]
    assert cycles({**tree, "gpyro.wire.c": "import gpyro.wire.c"}) == ["gpyro.wire.c"]


@pytest.mark.parametrize(
    ("module", "source", "reported"),
    [
        ("gpyro.wire.frames", "import time", "imports time, which floor 1 must not"),
        ("gpyro.wire.frames", "from os import environ", "imports os, which floor 1 must not"),
        ("gpyro.wire.frames", "import os.path", "imports os.path, which floor 1 must not"),
        ("gpyro.wire.frames", "def f():\n    import threading", "frames:2 imports threading"),
        ("gpyro.wire.frames", "from gevent import socket", "imports gevent, which floor 1 must not"),
        ("gpyro.settings", "import gevent.lock", "imports gevent.lock, which floor 2 must not"),
        ("gpyro.net.channel", "import docopt", "imports docopt, which floor 3 must not"),
        ("gpyro.errors", "import ormsgpack", "floor 0 has the standard library only"),
    ],
)
def test_forbidden_imports_are_caught(module: str, source: str, reported: str) -> None:
    wrong = forbidden_imports({**GROUND, module: source})
    assert len(wrong) == 1
    assert reported in wrong[0]


def test_a_codec_in_two_files_is_caught() -> None:
    tree = {**GROUND, "gpyro.values.a": "import ormsgpack\ndef f():\n    import ormsgpack"}
    assert forbidden_imports(tree) == []
    wrong = forbidden_imports({**tree, "gpyro.values.b": "from ormsgpack import packb"})
    assert wrong == ["ormsgpack is imported in more than one file: gpyro.values.a, gpyro.values.b"]


def test_large_files_and_functions_are_caught() -> None:
    assert too_large({"gpyro.a": "x = 1\n" * MAX_LINES}) == []
    assert too_large({"gpyro.a": "x = 1\n" * (MAX_LINES + 1)}) == ["gpyro.a has 501 lines, more than 500"]
    function = "class C:\n    async def f(self):\n" + "        x = 1\n" * (MAX_FUNCTION_LINES - 1)
    assert too_large({"gpyro.a": function}) == []
    assert too_large({"gpyro.a": function + "        x = 1\n"}) == ["gpyro.a:2 f has 61 lines, more than 60"]


def test_files_are_read_with_their_names(tmp_path: Path) -> None:
    root = tmp_path / "gpyro"
    (root / "wire").mkdir(parents=True)
    for path in ("__init__.py", "errors.py", "wire/__init__.py", "wire/frames.py", "notes.txt"):
        (root / path).write_text(f"# {path}")
    assert read_tree(root) == {
        "gpyro": "# __init__.py",
        "gpyro.errors": "# errors.py",
        "gpyro.wire": "# wire/__init__.py",
        "gpyro.wire.frames": "# wire/frames.py",
    }
