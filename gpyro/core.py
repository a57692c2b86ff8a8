"""The names of Pyro 3's ``Pyro.core`` in one place: what most programs import. As a program it prints the version."""

from __future__ import annotations

from gpyro.constants import VERSION
from gpyro.hub_daemon import Daemon
from gpyro.objects import CallbackObjBase, ObjBase, SynchronizedObjBase
from gpyro.proxy import DynamicProxy, DynamicProxyWithAttrs, getAttrProxyForURI, getProxyForURI
from gpyro.pyrouri import PyroURI
from gpyro.servant import DaemonServant
from gpyro.startup import initClient, initServer

__all__ = [
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

if __name__ == "__main__":
    print(f"gpyro version: {VERSION}")
