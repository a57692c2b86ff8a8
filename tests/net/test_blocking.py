"""Who blocks the loop is named. In processes of their own, since the watch lives as long as its hub."""

from __future__ import annotations

import sys

import pytest

from gpyro import core
from gpyro.net.blocking import describe
from tests.programs import program

SERVER = """
import logging, sys, threading, time
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
import gevent
from gpyro import core

def compute(until):
    while time.monotonic() < until:
        pass

class Thing(core.ObjBase):
    def compute(self, seconds):
        compute(time.monotonic() + seconds)
        return "done"
    def sleep(self, seconds):
        gevent.sleep(seconds)
    def burn(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until: pass

thing = Thing()
daemon = core.Daemon()
print(daemon.connect(thing), flush=True)
"""


def line_on(method, server):
    """The line on this method; a machine that stands still makes others look slow, too."""
    while method not in (line := server.line()):
        assert line.startswith("WARNING the loop has been blocked")
        assert "Thing." not in line
    return line


@pytest.mark.parametrize("patched", [False, True])
def test_the_method_is_named_with_its_place_while_it_still_blocks(patched):
    with program(SERVER + "daemon.requestLoop()", patched=patched, environment={"GPYRO_MAX_BLOCKING": "0.1"}) as server:
        proxy = core.getProxyForURI(server.line())
        proxy.sleep(0.3)  # blocks nobody
        assert proxy.compute(1.0) == "done"
        line = line_on("Thing.compute", server)
        assert line.startswith("WARNING the loop has been blocked for 0.1 s or more by the method Thing.compute, <str")
        assert ", now in compute, <string>:" in line
        proxy.burn(0.5)
        line = line_on("Thing.burn", server)
        assert "the method Thing.burn, <string>:" in line
        assert "now in" not in line
        proxy._release()


def test_without_the_item_nobody_looks():
    code = "import threading\nprint(len(sys._current_frames()), flush=True)\ndaemon.requestLoop()"
    with program(SERVER + code) as server:
        proxy = core.getProxyForURI(server.line())
        assert server.line() == "1"
        proxy.burn(0.3)
        server.process.terminate()
        assert server.ended_well() == ""
        proxy._release()


def test_a_foreign_loop_that_waits_is_no_blocking():
    code = """
import select
for _ in range(4):
    select.select(daemon.getServerSockets(), [], [], 0.25)
    daemon.handleRequests(0)
daemon.closedown()
print("end")
"""
    said = []
    while "end\n" not in said:
        assert len(said) < 5, said  # the machine may stand still for a while, though hardly each time
        with program(SERVER + code, environment={"GPYRO_MAX_BLOCKING": "0.1"}) as server:
            server.line()
            said.append(server.ended_well())


def test_something_else_than_a_method():
    def innermost():
        return describe(sys._getframe(), 2)

    assert "blocked for 2 s or more by test_something_else_than_a_method.<locals>.innermost, " in innermost()
