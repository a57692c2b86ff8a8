"""The example web application as real processes: under gevent's WSGI server, and in each way under gunicorn."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gevent
import gevent.socket
import pytest

from gpyro import core
from tests.programs import program
from tests.support import ROOT, eventually

EXAMPLE = ROOT / "examples" / "webapp"
PATIENCE = 30.0
HERE = Path(__file__).parent
GUNICORN = ["-m", "gunicorn", "--bind", "127.0.0.1:0"]
# Without the example's gunicorn.conf.py, in place of which there is an empty file.
BARE = [*GUNICORN, "--config", str(HERE / "__init__.py"), "--worker-class", "gevent", "--workers", "2"]

WAYS = {
    "gevent": ["serve.py", "--port", "0"],
    # The workers patch themselves, then import the application.
    "bare gunicorn": [*BARE, "app:app"],
    # The master imports the application, and opens a channel, unpatched; the workers are forked, and patched, after it.
    "bare gunicorn preload": [*BARE, "--preload", "app:app"],
    # As the example's configuration has it, the master is patched before it imports anything.
    "gunicorn preload": [*GUNICORN, "--preload", "--pythonpath", str(HERE), "locked:app"],
}

BROKEN = """
    import sys
    import backend
    backend.Warehouse.articles = lambda self: 1 / 0
    sys.exit(backend.main())
"""


_libc = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _in_child() -> None:
    # A shell that runs the tests in the background has made all its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # These are servers, which would stay for ever if the tests were killed.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A Python program in the example's directory; what it prints goes to a file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=EXAMPLE,
                # gunicorn's control socket goes where the home is.
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                preexec_fn=_in_child,
                process_group=0,
            )

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed something that matches."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.printed, re.MULTILINE)
            assert found or self.process.poll() is None, f"ended without {pattern!r}:\n{self.printed}"
            return found

        found: re.Match[str] = eventually(look, PATIENCE)
        return found

    def end(self, number: int) -> int:
        """Send a signal, and wait for the exit code."""
        self.process.send_signal(number)
        return self.code()

    def code(self) -> int:
        """Wait for the exit code."""
        eventually(lambda: self.process.poll() is not None, PATIENCE)
        return int(self.process.returncode)

    def kill(self) -> None:
        """Kill it with its children."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Web:
    """One web application with a back end of its own."""

    def __init__(self, way: str, directory: Path) -> None:
        self.way = way
        self.directory = directory
        self.workers = 1 if way == "gevent" else 2
        self.restarts = 0
        self.backend = self.start_backend()
        uri = self.backend.says(r"^PYROLOC://localhost:(\d+)/warehouse$")
        self.backend_port = uri[1]
        self.uri = uri[0]
        home = str(directory)
        self.server = Process(
            WAYS[way], directory / "server", {"WAREHOUSE": self.uri, "HOME": home, "XDG_RUNTIME_DIR": home}
        )

    def start_backend(self, command: list[str] | None = None, port: str = "0") -> Process:
        """Start a back end; `command` if it is another than the example's."""
        self.restarts += 1
        log = self.directory / f"backend{self.restarts}"
        return Process([*(command or ["backend.py"]), "--port", port], log, {})

    @property
    def port(self) -> int:
        """Where it listens, as it says itself."""
        return int(self.server.says(r"^(?:.*Listening at: )?http://127\.0\.0\.1:(\d+)")[1])

    @property
    def warehouse(self) -> Any:
        """A proxy for its back end: one that nobody else has."""
        return core.getProxyForURI(self.uri)

    def connect(self) -> gevent.socket.socket:
        return gevent.socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, method: str, path: str, **fields: Any) -> tuple[int, Any]:
        """A request on a connection of its own: the status, and what the body says."""
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = self.connect()
        with contextlib.closing(connection):
            form = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
            connection.request(method, path, urlencode(fields), form)
            with contextlib.closing(connection.getresponse()) as response:
                return response.status, json.loads(response.read())

    def spawn(self, method: str, path: str, **fields: Any) -> gevent.Greenlet[..., tuple[int, Any]]:
        return gevent.spawn(self.ask, method, path, **fields)

    def order_later(self, *orders: str) -> list[gevent.Greenlet[..., tuple[int, Any]]]:
        """Order a gear each, of which there is none, and come back when all of them wait in the back end."""
        asking = [self.spawn("PUT", f"/orders/{order}", article="gear", count=1, wait=1) for order in orders]
        self.waiting(len(orders))
        return asking

    def waiting(self, number: int) -> None:
        """Wait until so many orders wait in the back end."""
        warehouse = self.warehouse
        eventually(lambda: warehouse.status()["waiting"] == number, PATIENCE)

    def listens(self) -> bool:
        """Whether its socket listens. Not by connecting, for gunicorn logs an error if that comes amid closing it."""
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(address == f"0100007F:{self.port:04X}" and state == "0A" for _, address, _, state, *_ in sockets)

    def meet_all(self) -> dict[int, set[str]]:
        """Ask until every process has answered: the connections that each of them has to the back end."""
        met: dict[int, set[str]] = {}

        def meet() -> bool:
            asking = [self.spawn("GET", "/status") for _ in range(10)]
            for status, answer in answers(asking):
                assert status == 200, answer
                met.setdefault(answer["process"], set()).add(answer["caller"])
            return len(met) >= self.workers

        eventually(meet, PATIENCE)
        return met

    def kill(self) -> None:
        for process in [self.server, self.backend]:
            process.kill()


def answers(asking: list[gevent.Greenlet[..., Any]]) -> list[Any]:
    """What the greenlets came back with."""
    gevent.joinall(asking, timeout=PATIENCE, raise_error=True)
    assert all(one.successful() for one in asking), "not answered in time"
    return [one.value for one in asking]


BOOKED = {"article": "gear", "count": 1, "asked": 1}


@pytest.fixture(scope="module")
def webs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Web]]:
    """All ways, started at the same time."""
    started: dict[str, Web] = {}
    try:
        for way in WAYS:
            started[way] = Web(way, tmp_path_factory.mktemp("web"))
        yield started
    finally:
        for web in started.values():
            web.kill()


@pytest.fixture(params=WAYS)
def web(webs: dict[str, Web], request: pytest.FixtureRequest) -> Web:
    return webs[request.param]


# ---- requests


def test_requests(web: Web):
    assert web.ask("GET", "/articles") == (200, {"bolt": 100, "gear": 0, "nut": 100})
    assert web.ask("POST", "/articles/nut/deliveries", count=5) == (200, {"there": 105})
    for asked in (1, 2):
        order = {"article": "nut", "count": 3, "asked": asked}
        assert web.ask("PUT", "/orders/again", article="nut", count=3) == (200, order)
    assert web.ask("GET", "/orders/again") == (200, {"article": "nut", "count": 3, "asked": 2})
    assert web.ask("GET", "/articles")[1]["nut"] == 102, "booked once"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (("PUT", "/orders/1", {"article": "moon", "count": 1}), (404, "NoSuchArticle", "moon")),
        (("PUT", "/orders/1", {"article": "gear", "count": 1}), (409, "NotEnough", "1 of gear ordered, 0 there")),
        (("GET", "/orders/1", {}), (404, "NoSuchOrder", "1")),
        (("PUT", "/orders/1", {"count": 1}), (400, "Bad Request", "the field 'article' is missing")),
        (("PUT", "/orders/1", {"article": "nut", "count": 0}), (400, "Bad Request", "from 1 to 1000000")),
        (("PUT", "/orders/1", {"article": "nut", "count": "9" * 5000}), (400, "Bad Request", "from 1 to 1000000")),
        (("POST", "/articles/nut/deliveries", {}), (400, "Bad Request", "'count' is to be")),
        (("GET", "/moon", {}), (404, "Not Found", "not found")),
    ],
    ids=lambda value: value[1] if isinstance(value[0], int) else value[1].strip("/"),
)
def test_what_is_refused(webs: dict[str, Web], request_: Any, answer: Any):
    method, path, fields = request_
    status, body = webs["gevent"].ask(method, path, **fields)
    assert (status, body["error"]) == answer[:2]
    assert answer[2] in body["text"]


def test_another_order_of_the_same_id(web: Web):
    assert web.ask("PUT", "/orders/other", article="bolt", count=1)[0] == 200
    status, answer = web.ask("PUT", "/orders/other", article="bolt", count=2)
    assert (status, answer["error"]) == (409, "OtherOrder")
    assert web.ask("GET", "/orders/other")[1]["count"] == 1


def test_slow_requests_hold_up_no_others(web: Web):
    orders = [f"slow-{number}" for number in range(10)]
    slow = web.order_later(*orders)
    web.meet_all()
    assert web.ask("POST", "/articles/gear/deliveries", count=10)[0] == 200
    assert answers(slow) == [(200, BOOKED)] * 10
    assert [web.ask("GET", f"/orders/{order}") for order in orders] == [(200, BOOKED)] * 10
    assert web.ask("GET", "/articles")[1]["gear"] == 0


def test_of_many_requests_at_a_time_each_runs_once(web: Web):
    there = web.warehouse.articles()["bolt"]
    orders = [f"many-{number}" for number in range(50)]
    asking = [web.spawn("PUT", f"/orders/{order}", article="bolt", count=1) for order in orders]
    assert answers(asking) == [(200, {"article": "bolt", "count": 1, "asked": 1})] * 50
    warehouse = web.warehouse
    assert [warehouse.booked(order)["asked"] for order in orders] == [1] * 50
    assert warehouse.articles()["bolt"] == there - 50


def test_each_process_has_one_connection_of_its_own(web: Web):
    met = web.meet_all()
    assert all(len(connections) == 1 for connections in met.values()), met
    assert len(set.union(*met.values())) == len(met)
    known = web.warehouse.status()
    if "preload" in web.way:
        # The master called at import, and nobody did so again; it keeps its connection.
        assert known["programs"] == [web.server.process.pid]
        assert web.server.process.pid not in met
        assert known["connections"] == len(met) + 2
    else:
        assert sorted(known["programs"]) == sorted(met)
        assert known["connections"] == len(met) + 1


def test_a_lock_made_at_import_is_no_hindrance_with_the_examples_configuration(webs: dict[str, Web]):
    web = webs["gunicorn preload"]
    asking = [web.spawn("GET", "/locked") for _ in range(20)]
    assert {status for status, _ in answers(asking)} == {200}


def test_a_client_that_leaves(web: Web):
    body = "article=gear&count=1&wait=1"
    leaving = web.connect()
    form = "Content-Type: application/x-www-form-urlencoded"
    head = f"PUT /orders/left HTTP/1.1\r\nHost: x\r\n{form}\r\nContent-Length: {len(body)}"
    leaving.sendall(f"{head}\r\n\r\n{body}".encode())
    web.waiting(1)
    leaving.close()
    web.meet_all()
    warehouse = web.warehouse
    warehouse.deliver("gear", 1)
    assert warehouse.booked("left") == BOOKED, "its order is booked nevertheless, and once"
    web.meet_all()
    assert "Traceback" not in web.server.printed


@pytest.mark.parametrize("way", [way for way in WAYS if "preload" in way])
def test_a_worker_that_is_replaced(webs: dict[str, Web], way: str):
    web = webs[way]
    before = web.meet_all()
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in (met := web.meet_all()) and len(met) == 2, PATIENCE)
    after = web.meet_all()
    assert all(len(connections) == 1 for connections in after.values()), after
    (other,) = set(before) - {killed}
    assert after[other] == before[other], "the other one goes on"


# ---- a back end that fails


NOT_SENT = ("NotSentError", "ConnectionLostError")  # by a process that had a connection, it is the second one


def test_a_back_end_that_comes_and_goes(web: Web):
    (slow,) = web.order_later("cut")
    web.backend.process.terminate()  # it drains, for an order runs
    eventually(lambda: web.ask("GET", "/articles")[0] == 503, PATIENCE)
    status, answer = web.ask("PUT", "/orders/late", article="nut", count=1)
    assert (status, answer["may_have_run"]) == (503, False)
    assert answer["error"] in (*NOT_SENT, "CallRefusedError")
    assert answer["text"]

    web.backend.end(signal.SIGKILL)
    ((status, answer),) = answers([slow])
    assert (status, answer["error"], answer["may_have_run"]) == (502, "MaybeExecutedError", True)
    assert "connection lost" in answer["text"]
    status, answer = web.ask("GET", "/articles")
    assert status == 503
    assert answer["error"] in NOT_SENT
    assert "Connection refused" in answer["text"]

    web.backend = web.start_backend(["-c", textwrap.dedent(BROKEN)], web.backend_port)
    web.backend.says(r"^PYROLOC:")
    assert web.ask("PUT", "/orders/cut", article="bolt", count=1)[0] == 200
    assert all(len(connections) == 1 for connections in web.meet_all().values())
    status, answer = web.ask("GET", "/articles")
    assert (status, answer["error"]) == (500, "Internal Server Error")
    assert "ZeroDivisionError" not in answer["text"], "what happened is for the log"
    web.server.says(r"(?s)Exception on /articles.*Remote traceback.*ZeroDivisionError")


LONELY = """
    import json, os, sys
    sys.path.insert(0, sys.argv[1])
    import app
    from gpyro import errors

    def show(response):
        print(response.status_code, response.headers.get("Retry-After"), json.dumps(response.get_json()), flush=True)

    client = app.app.test_client()
    show(client.get("/articles"))
    app.patient_warehouse.URI = sys.argv[2]
    app.patient_warehouse.status()  # connects
    app.patient_warehouse._setTimeout(1)
    show(client.put("/orders/lonely", data={"article": "gear", "count": 1, "wait": 1}))
    for error in [
        errors.NotSentError("-"), errors.CallRefusedError("-"), errors.ConnectionDeniedError("-"),
        errors.MaybeExecutedError("-"), errors.TimeoutError("-", "connecting"), errors.ProtocolError("-"),
    ]:
        print(app.no_answer(error)[1])
    """


def test_which_verdict_is_which_status(webs: dict[str, Web]):
    web = webs["gevent"]
    with gevent.socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"PYROLOC://localhost:{nobody.getsockname()[1]}/warehouse"
        with program(LONELY, str(EXAMPLE), web.uri, environment={"WAREHOUSE": uri}) as application:
            # The application starts although its back end is not there.
            status, again, answer = application.line().split(maxsplit=2)
            assert (status, again, json.loads(answer)["error"]) == ("503", "1", "NotSentError")
            status, again, answer = application.line().split(maxsplit=2)
            assert (status, again) == ("504", "None")
            assert json.loads(answer)["error"] == "TimeoutError"
            assert json.loads(answer)["may_have_run"]
            assert application.ended_well().split() == ["503", "503", "502", "502", "504", "502"]
    web.warehouse.deliver("gear", 1)
    assert web.ask("GET", "/orders/lonely")[0] == 404, "it may have run, but it was stopped in time"


def test_a_port_that_is_taken(webs: dict[str, Web], tmp_path: Path):
    web = webs["gevent"]
    started = [
        Process(["backend.py", "--port", web.backend_port], tmp_path / "backend", {}),
        Process(["serve.py", "--port", str(web.port)], tmp_path / "server", {"WAREHOUSE": web.uri}),
    ]
    try:
        for process, port in zip(started, [web.backend_port, web.port], strict=True):
            assert process.code() == 1
            assert f"cannot listen on port {port}: " in process.printed
            assert "Address already in use" in process.printed
            assert len(process.printed.splitlines()) == 1
    finally:
        for process in started:
            process.kill()


def test_the_readme_runs_it_like_these_tests():
    readme = (EXAMPLE / "README.md").read_text()
    commands = re.findall(r"^    ((?:python|gunicorn) .*?)(?:  +#.*)?$", readme, re.MULTILINE)
    assert commands == ["python backend.py", "python serve.py", "gunicorn app:app", "gunicorn --preload app:app"]


# ---- the end, which is the end of all of them


def test_sigterm_lets_running_requests_finish(webs: dict[str, Web]):
    silent = {way: web.connect() for way, web in webs.items()}
    for connection in silent.values():
        connection.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
    slow = {way: web.order_later("last") for way, web in webs.items()}
    for web in webs.values():
        assert web.listens()
        web.server.process.terminate()
    for web in webs.values():
        eventually(lambda web=web: not web.listens(), PATIENCE)
    for way, web in webs.items():
        web.warehouse.deliver("gear", 1)
        assert answers(slow[way]) == [(200, BOOKED)]
    for way, web in webs.items():
        with silent[way] as connection:
            while connection.recv(65536):
                pass  # it has been answered, and is closed then
        assert web.server.code() == 0, web.server.printed
        assert not re.search("Traceback|SIGKILL|timeout", web.server.printed.partition("term")[2]), web.server.printed
        assert web.backend.end(signal.SIGINT) == 0
        assert "KeyboardInterrupt" not in web.backend.printed
