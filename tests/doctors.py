"""What tests of the doctor need: asking it, and peers of all kinds."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent import socket as gsocket

from gpyro import core, doctor
from gpyro.checkup import STEPS
from gpyro.wire.frames import MAGIC, Kind, pack
from gpyro.wire.hello import Hello

SECRET = "open sesame"


class Thing(core.ObjBase):
    def ask(self) -> str:
        raise AssertionError("the doctor calls no methods")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            raise AssertionError(f"the doctor asks for no attributes: {name}")
        raise AttributeError(name)


class Answer:
    """What the tool said: its code, what it printed, and each step's status, text and hint."""

    def __init__(self, code: int, out: str) -> None:
        self.code = code
        self.told = json.loads(out)
        self.steps = {step["step"]: step for step in self.told["steps"]}
        assert tuple(self.steps) == STEPS
        self.statuses = [step["status"] for step in self.told["steps"]]

    @property
    def failed(self) -> tuple[str, str]:
        """The step that failed, and its text; all before it did not, and all behind it were skipped."""
        names = [name for name, step in self.steps.items() if step["status"] == "FAILED"]
        assert len(names) == 1
        after = self.statuses[STEPS.index(names[0]) + 1 :]
        assert set(after) <= {"skipped"}
        assert self.code == 1
        assert self.told["ok"] is False
        assert self.hint
        return names[0], self.steps[names[0]]["text"]

    @property
    def hint(self) -> str:
        return next(str(step["hint"]) for step in self.steps.values() if step["status"] == "FAILED")


def ask(uri: object, *options: str, seconds: float = 30, passphrase: str | None = None) -> Answer:
    """Run the tool in this process; a passphrase comes by its standard input."""
    out, err, stdin = io.StringIO(), io.StringIO(), sys.stdin
    if passphrase is not None:
        options = (*options, "--identification-file", "-")
        sys.stdin = io.StringIO(passphrase)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = doctor.main(["--json", "--timeout", str(seconds), *options, str(uri)])
    finally:
        sys.stdin = stdin
    assert err.getvalue() == ""
    return Answer(code, out.getvalue())


@contextlib.contextmanager
def listener(serve: Callable[[Any], object]) -> Iterator[str]:
    """Something that listens and has `serve` deal with each connection; gives a URI that leads to it."""
    server = gsocket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(5)

    def deal_with(sock: Any) -> None:
        with contextlib.suppress(OSError), sock:
            serve(sock)

    greenlets = []

    def accept() -> None:
        while True:
            greenlets.append(gevent.spawn(deal_with, server.accept()[0]))

    greenlets.append(gevent.spawn(accept))
    try:
        yield f"PYRO://127.0.0.1:{server.getsockname()[1]}/x"
    finally:
        gevent.killall(greenlets)
        server.close()


def wait_for_end(sock: Any) -> None:
    while sock.recv(65536):
        pass


def answering(data: bytes, first: bool = False) -> Callable[[Any], None]:
    """Says this, and then nothing; without `first`, when the doctor has said something."""

    def serve(sock: Any) -> None:
        if not first:
            sock.recv(65536)
        sock.sendall(data)
        wait_for_end(sock)

    return serve


def welcoming(*frames: bytes, agent: str = "test") -> Callable[[Any], None]:
    """Says hello as a daemon does, and then these frames, when the doctor has said something more."""

    def serve(sock: Any) -> None:
        sock.recv(65536)
        hello = Hello(calls=10, size=1000, sessions=10, agent=agent)
        sock.sendall(MAGIC + pack(Kind.WELCOME, body=hello.to_bytes()))
        sock.recv(65536)
        for frame in frames:
            sock.sendall(frame)
        wait_for_end(sock)

    return serve
