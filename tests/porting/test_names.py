"""Each public name of Pyro 3 is there, or docs/porting.md says that it is to come, or what there is instead."""

from __future__ import annotations

import importlib
import re
import subprocess

import pytest

import gpyro
from gpyro import core, eventsvc, protocol
from gpyro.adapter import PYROAdapter
from gpyro.naming import (
    BCReqValidator,
    BroadcastServer,
    NameServerLocator,
    NameServerProxy,
    NameServerStarter,
    PersistentNameServer,
)
from gpyro.tls import Caller
from gpyro.util import ArgParser, Log, UserLogger
from tests.support import ROOT

PAGE = (ROOT / "docs" / "porting.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


TO_COME = set(re.findall(r"`(?:gpyro\.)?([\w.]+)`", section("Not there yet")))


def gone():
    """The names that are gone, each with what it belonged to: ``Daemon.sock``, ``core.processStringURI``."""
    for row in section("Names that are gone").splitlines():
        owner, found, names = row.removeprefix("| ").split(" | ")[0].partition(": ")
        if found:
            owner = owner.strip("`").removeprefix("Pyro.")
            for name in re.findall(r"`([\w.]+)`", names):
                yield name if "." in name else f"{owner}.{name}"


GONE = set(gone())

MODULES = {
    "core": """initServer initClient ObjBase SynchronizedObjBase CallbackObjBase DaemonServant PyroURI processStringURI
        getProxyForURI getAttrProxyForURI DynamicProxy DynamicProxyWithAttrs Daemon""",
    "protocol": """getProtocolAdapter PYROAdapter PYROSSLAdapter TCPConnection LocalStorage DefaultConnValidator
        BasicSSLValidator getHostname getIPAddress safe_select TCPServer sock_recvmsg sock_sendmsg set_reuse_addr
        set_sock_keepalive set_sock_no_inherit agent_import""",
    "errors": """PyroError URIError DaemonError NamingError NoModuleError ProtocolError ConnectionClosedError
        TimeoutError ConnectionDeniedError PyroExceptionCapsule _InternalNoModuleError""",
    "util": """getPyroTraceback formatTraceback excepthook Log SystemLogger UserLogger ArgParser getGUID
        genguid_scripthelper getLockObject getRLockObject getEventObject supports_multithreading supports_compression
        listdir getPickle getXMLPickle""",
    "constants": """VERSION INTERNAL_DAEMON_GUID NAMESERVER_NAME EVENTSERVER_NAME TRACEBACK_ATTRIBUTE RIF_Varargs
        RIF_Keywords RIF_Oneway DENIED_UNSPECIFIED DENIED_SERVERTOOBUSY DENIED_HOSTBLOCKED DENIED_SECURITY deniedReasons
        NSROLE_SINGLE NSROLE_PRIMARY NSROLE_SECONDARY""",
    "naming": """NameServer PersistentNameServer NameServerStarter NameServerLocator NameServerProxy BroadcastServer
        BCReqValidator NameSpaceSystemMeta NS_SYSCMD_LOCATION NS_SYSCMD_SHUTDOWN NameSpaceNode NameValue NamedTree
        PersistentNameSpaceNode bcRequestHandler main""",
    "nsc": "PyroNSControl usage main",
    "eventsvc": "Event EventService EventServiceStarter Publisher Subscriber",
    "configuration": "Config ConfigReader main",
    "test.echoserver": "EchoServer main",
}


def proxies():
    return core.getProxyForURI("PYRO://localhost/x"), core.getAttrProxyForURI("PYRO://localhost/x")


THINGS = {
    "ObjBase": (
        core.ObjBase,
        """objectGUID delegate lastUsed GUID setGUID delegateTo setPyroDaemon getDaemon getLocalStorage getProxy
        getAttrProxy setCodeValidator _gotReaped Pyro_dyncall _r_ha _r_ga _r_sa remote_supply_code
        remote_retrieve_code""",
    ),
    "PyroURI": (
        lambda: core.PyroURI("PYRO://localhost/x"),
        "protocol address port objectID init reinitFromString clone getProxy getAttrProxy",
    ),
    "DynamicProxy": (
        lambda: type(proxies()[0]),
        """_setIdentification _setNewConnectionValidator _setOneway _setTimeout _transferThread _release URI objectID
        adapter __copy__ __deepcopy__ _invokePYRO _local _islocal""",
    ),
    "DynamicProxyWithAttrs": (lambda: type(proxies()[1]), "findattr"),
    "adapter": (
        lambda: PYROAdapter,
        """rebindURI bindToURI release connected setOneway setTimeout setIdentification getIdentification
        setNewConnectionValidator getNewConnectionValidator remoteInvocation handleConnection handleInvocation
        sendAccept sendDeny returnException receiveMsg createMsg connectMSG acceptMSG denyMSG AUTH_CHALLENGE_SIZE
        version""",
    ),
    "Daemon": (
        lambda: core.Daemon(port=0, norange=1),
        """port hostname sock protocol adapter connections implementations threaded NameServer useNameServer
        getNameServer connect connectPersistent disconnect getRegistered getProxyForObj getAttrProxyForObj
        getLocalObject getLocalObjectForProxy requestLoop handleRequests getServerSockets shutdown closedown setTimeout
        setAllowedIdentifications setNewConnectionValidator getNewConnectionValidator setTransientsCleanupAge setInitTLS
        getLocalStorage validateHostnameAndIP ResolvePYROLOC handleError handleInvocation getAdapter removeConnection
        reapUnusedTransients""",
    ),
    "NameServerProxy": (
        lambda: NameServerProxy,
        """register unregister resolve list flatlist createGroup deleteGroup setMeta getMeta _setSystemMeta
        _getSystemMeta ping resync fullName _shutdown _release _setIdentification _transferThread __copy__ __deepcopy__
        adapter URI""",
    ),
    "NameServerLocator": (lambda: NameServerLocator, "getNS detectNS sendSysCommand"),
    "NameServerStarter": (
        lambda: NameServerStarter,
        "start initialize getServerSockets handleRequests waitUntilStarted shutdown",
    ),
    "PersistentNameServer": (lambda: PersistentNameServer, "getDBDir"),
    "BroadcastServer": (
        lambda: BroadcastServer,
        "setNS_URI setRequestValidator keepRunning bcCallback getServerSocket preferredTimeOut",
    ),
    "BCReqValidator": (BCReqValidator, "acceptLocationCmd acceptShutdownCmd addr reply"),
    "DefaultConnValidator": (
        protocol.DefaultConnValidator,
        """acceptHost acceptIdentification createAuthToken createAuthChallenge mungeIdent setAllowedIdentifications
        checkCertificate""",
    ),
    "TCPConnection": (lambda: protocol.TCPConnection, "sock addr connected pflags fileno close shutdown __str__"),
    "caller": (lambda: Caller(("127.0.0.1", 1), None, None, {}), "addr connected"),
    "ArgParser": (ArgParser, "parse options args ignored hasOpt getOpt printIgnored"),
    "Event": (lambda: eventsvc.Event("a", 1), "subject msg time"),
    "EventService": (eventsvc.EventService, "subscribe subscribeMatch unsubscribe publish"),
    "EventServiceStarter": (
        eventsvc.EventServiceStarter,
        "start initialize getServerSockets waitUntilStarted handleRequests mustContinueRunning shutdown",
    ),
    "Publisher": (eventsvc.Publisher, "publish getES"),
    "Subscriber": (
        eventsvc.Subscriber,
        "subscribe subscribeMatch unsubscribe event listen abort setThreading getES getDaemon",
    ),
    "Log": (lambda: Log, "msg warn error raw"),
    "UserLogger": (UserLogger, "msg warn error raw"),
    "Config": (lambda: gpyro.config, "setup finalizeConfig_Client finalizeConfig_Server _PYRO_INITIALIZED"),
}


def check(thing, names, owner):
    """Each name is either there or told of."""
    for name in names.split():
        told = f"{owner}.{name}" in GONE | TO_COME or name in TO_COME
        assert hasattr(thing, name) != told, f"{owner}.{name} is to be there, or told of, and not both"


@pytest.mark.parametrize("module", MODULES)
def test_names_of_modules(module):
    check(importlib.import_module(f"gpyro.{module}"), MODULES[module], module)


@pytest.mark.parametrize("thing", THINGS)
def test_names_of_things(thing):
    make, names = THINGS[thing]
    made = make()
    check(made, names, thing)
    if isinstance(made, core.Daemon):
        made.closedown()


def test_what_is_told_of_was_there_once():
    known = {f"{module}.{name}" for module, names in MODULES.items() for name in names.split()}
    known |= {f"{thing}.{name}" for thing, (_, names) in THINGS.items() for name in names.split()}
    known |= {"ext.remote", "ext.remote_nons", "ext.pyrorun"}
    assert known >= GONE
    assert len(GONE) > 40
    assert len(TO_COME) > 5


@pytest.mark.parametrize("name", sorted(name for name in TO_COME if name in ("naming", "nsc", "xnsc", "wxnsc")))
def test_modules_that_are_to_come_are_not_there(name):
    with pytest.raises(ImportError):
        importlib.import_module(f"gpyro.{name}")


def test_the_command_that_renames(tmp_path):
    (command,) = (line.strip() for line in section("In three steps").splitlines() if line.startswith("    sed "))
    program = tmp_path / "program.py"
    program.write_text(
        "import Pyro\nimport Pyro.core, Pyro.util\nfrom Pyro.errors import PyroError\n"
        "Pyro.config.PYRO_PORT = 0\nuri = Pyro.core.PyroURI('PYRO://localhost/Pyro')\n"
        "notPyro = Pyro.constants.VERSION\n"
        "from Pyro.EventService.Clients import Publisher\nimport Pyro.EventService.Event\n"
        "from Pyro import core\nfrom Pyro.EventService import Clients\n"
    )
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert program.read_text() == (
        "import gpyro\nimport gpyro.core, gpyro.util\nfrom gpyro.errors import PyroError\n"
        "gpyro.config.PYRO_PORT = 0\nuri = gpyro.core.PyroURI('PYRO://localhost/Pyro')\n"
        "notPyro = gpyro.constants.VERSION\n"
        "from gpyro.eventsvc import Publisher\nimport gpyro.eventsvc\n"
        "from gpyro import core\nfrom gpyro import eventsvc as Clients\n"
    )
