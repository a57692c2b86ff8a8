"""The names of Pyro 3's core module in one place."""

from __future__ import annotations

import inspect
import subprocess
import sys

import gpyro
from gpyro import core

NAMES = [
    "CallbackObjBase",
    "Daemon",
    "DaemonServant",
    "DynamicProxy",
    "DynamicProxyWithAttrs",
    "ObjBase",
    "PyroURI",
    "SynchronizedObjBase",
    "getAttrProxyForURI",
    "getProxyForURI",
    "initClient",
    "initServer",
]


def test_all_names_are_there_and_nothing_else():
    assert sorted(core.__all__) == NAMES
    assert all(hasattr(core, name) for name in NAMES)
    exported = {}
    exec("from gpyro.core import *", exported)
    assert set(NAMES) <= set(exported)


def test_classes_and_functions_have_pyro_3s_arguments():
    def arguments(function):
        return [name for name in inspect.signature(function).parameters if name != "self"]

    assert arguments(core.Daemon.__init__) == ["protocol", "host", "port", "norange", "publishhost"]
    assert arguments(core.Daemon.connect) == ["obj", "name"]
    assert arguments(core.Daemon.requestLoop) == ["condition", "timeout", "others", "callback"]
    assert arguments(core.Daemon.shutdown) == ["disconnect"]
    assert arguments(core.Daemon.closedown) == ["nolog"]
    assert arguments(core.Daemon.setTransientsCleanupAge) == ["secs"]
    assert arguments(core.PyroURI.__init__) == ["host", "objectID", "port", "prtcol"]
    assert arguments(core.getProxyForURI) == arguments(core.getAttrProxyForURI) == ["URI"]
    assert arguments(core.DynamicProxy.__init__) == ["URI"]
    assert arguments(core.DynamicProxy._setTimeout) == ["secs"]
    assert arguments(core.DynamicProxy._setOneway) == ["methods"]
    assert arguments(core.DynamicProxy._transferThread) == ["newOwnerThread"]
    assert arguments(core.initServer) == ["banner", "storageCheck"]
    assert arguments(core.initClient) == ["banner"]
    assert arguments(core.ObjBase.Pyro_dyncall) == ["method", "flags", "args"]
    assert inspect.signature(core.Daemon.requestLoop).parameters["timeout"].default == 3
    assert inspect.signature(core.Daemon.shutdown).parameters["disconnect"].default is False


def test_the_kinds_of_objects_and_proxies_are_each_others():
    assert issubclass(core.SynchronizedObjBase, core.ObjBase)
    assert issubclass(core.CallbackObjBase, core.ObjBase)
    assert issubclass(core.DynamicProxyWithAttrs, core.DynamicProxy)


def test_as_a_program_it_prints_the_version():
    command = [sys.executable, "-W", "error", "-m", "gpyro.core"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"gpyro version: {gpyro.__version__}\n", "")


def test_the_package_itself_has_few_names():
    objects = {"expose", "oneway", "threaded"}
    calls = {"batch", "call_context", "deadline", "shield", "submit", "current_context", "time_left", "observe"}
    types = {"Batch", "CallContext", "CallInfo", "Future", "Observer", "CallbackProxy", "RemoteFunction"}
    others = {"__version__", "config", "register_class", "register_serializer"}
    assert set(gpyro.__all__) == objects | calls | types | others
    assert gpyro.__version__ == gpyro.constants.VERSION
