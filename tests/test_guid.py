from __future__ import annotations

import os
import re
import threading

import pytest

from gpyro.guid import getGUID


def test_looks_like_pyros() -> None:
    for _ in range(100):
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){3}", getGUID())


def test_no_digit_is_fixed() -> None:
    """An address, process id or clock inside would show as places that keep their digit."""
    guids = [getGUID().replace("-", "") for _ in range(300)]
    for place in range(32):
        assert len({guid[place] for guid in guids}) > 8


def test_threads_get_different_ones() -> None:
    found: list[str] = []

    def work() -> None:
        found.extend([getGUID() for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gets_others() -> None:
    getGUID()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, getGUID().encode())
        os._exit(0)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
    theirs = os.read(reader, 100).decode()
    os.close(reader)
    assert len(theirs) == 35
    assert theirs != getGUID()


def test_comes_from_the_systems_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpyro.guid.urandom", lambda count: bytes(range(count)))
    assert getGUID() == "00010203-04050607-08090a0b-0c0d0e0f"
