"""Ask a name server things, and change what it knows: name server control.

Usage:
  gpyro-nsc [options] COMMAND [ARGUMENT...]
  gpyro-nsc --help | --version

Commands:
  ping                   see whether it answers
  list [GROUP...]        what is in groups; without GROUP the default one
  listall                all objects with their URIs
  resolve NAME...        the URIs of objects
  register NAME URI      give an object a name, until somebody removes it
  remove NAME...         take objects out
  creategroup NAME...    make groups
  deletegroup NAME...    take groups out, with all that is in them
  showmeta NAME...       the metadata of objects and groups
  setmeta NAME TEXT      keep a text with an object or a group
  watch [GROUP]          tell what happens to names, while it happens, until Ctrl-C
  shutdown               ask the name server to end
  resync                 refused: there are no pairs of name servers
  help                   this text

Which name server:
  -h HOST --host=HOST    where it is. Without, PYRO_NS_HOSTNAME is asked if that is set,
                         else this machine, PYRO_NS_URIFILE and a broadcast
  -p PORT --port=PORT    its port; without a host the port of broadcasts
  -c ADDR --broadcast-address=ADDR  without a host: where to send the broadcast, and ask
                         nowhere else

Who asks:
  -i ID --identification=ID  the passphrase. Everybody on this machine can see it in the
                         list of processes; better is:
  --identification-file=FILE  a file with the passphrase, or with a user's name in a line
                         above; the standard input if FILE is -

  --json                 write a JSON object for each line
  --all                  have watch begin with the names that are there
  --help                 this text
  --version              the version of gpyro

Names without a colon at their beginning are in the group PYRO_NS_DEFAULTGROUP. Behind --
anything may begin with a dash.

The exit code is 0 if all went well; 1 if the name server, or what came of it, has an
error for at least one name; 2 if the arguments, or the configuration, cannot be used; 3
if the name server is not found, cannot be reached, or refuses; 130 at Ctrl-C; 141 if
nobody reads the output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from time import monotonic
from typing import Any, Final

from gevent import socket

from gpyro.command_line import Options, host, identification, whole_number
from gpyro.constants import TRACEBACK_ATTRIBUTE
from gpyro.context import deadline
from gpyro.control import ANY, NOT_ALL, Command, run_control
from gpyro.control_output import Output, as_json, date, headed, printable, table
from gpyro.errors import NamingError, ProtocolError, PyroError
from gpyro.namespace import GROUP
from gpyro.naming import NS_SYSCMD_SHUTDOWN, NameServerLocator, NameServerProxy
from gpyro.naming_proxy import is_elsewhere
from gpyro.naming_server import WILL_SHUT_DOWN
from gpyro.net.hub import limit
from gpyro.nsc_watch import Watch
from gpyro.settings import config

CALL_SECONDS: Final = 30.0
"""Seconds that the name server has for each answer."""

NAME_SECONDS: Final = 1.0
"""Seconds for finding the name of the machine at an address."""


class PyroNSControl:
    """The commands. Each takes its arguments, writes what comes of it, and gives the exit code.

    Every command raises ProtocolError, or NamingError from a place without name server, if the name server cannot be
    asked; what it says of a name is written.
    """

    def __init__(
        self,
        output: Output,
        host: str | None = None,
        port: int | None = None,
        bcaddr: str | None = None,
        identification: str | tuple[str, str] | None = None,
        with_all: bool = False,
    ) -> None:
        """Nothing is asked yet.

        Args:
            output: where to write.
            host: as of `NameServerLocator.getNS`, like the next two.
            port: see there.
            bcaddr: see there.
            identification: the passphrase.
            with_all: whether `watch` begins with the names that are there.
        """
        self._output = output
        self._place = host, port, bcaddr
        self._identification = identification
        self._with_all = with_all
        self._names_failed = 0

    def connect(self) -> NameServerProxy:
        """The name server, found and connected. Raises as `NameServerLocator.getNS`."""
        given, port, bcaddr = self._place
        place = given or (None if bcaddr else config.PYRO_NS_HOSTNAME)
        self._output.text(f"Locator: {'contacting' if place else 'searching'} Pyro Name Server...")
        # A search has a time of its own, which may be without end if somebody configured that.
        with deadline(CALL_SECONDS) if place else nullcontext():
            ns = NameServerLocator(self._identification).getNS(given, port, bcaddr=bcaddr)
        ns._setTimeout(CALL_SECONDS)
        uri = ns.URI
        if not self._output.as_json:
            address, machine = _machine(uri.address)
            self._output.text(f"NS is at {address} ({machine}) port {uri.port}")
        return ns

    # Commands

    def ping(self) -> int:
        """See whether it answers."""
        ns = self.connect()
        begun = monotonic()
        ns.ping()
        self._output.object(uri=str(ns.URI), seconds=monotonic() - begun)
        self._output.text("NS is up and running!")
        return 0

    def list(self, *groups: str) -> int:
        """What is in groups, or in the default one."""
        ns = self.connect()

        def show(group: str) -> None:
            full = ns.fullName(group)
            found = ns.list(full)
            subgroups = [name for name, kind in found if kind == GROUP]
            objects = [name for name, kind in found if kind != GROUP]
            self._output.object(name=full, groups=subgroups, objects=objects)
            if self._output.as_tables:
                rows = [(f"  {name}", "group" if kind == GROUP else "object") for name, kind in found]
                self._output.text(f"{full} ({len(found)})")
                self._output.lines(table(rows))
            else:
                names = [f"[{name}]" if kind == GROUP else name for name, kind in found]
                self._output.text(f"{full} --> ( {' '.join([*names, ''])})")

        return self._each(groups or (config.PYRO_NS_DEFAULTGROUP,), show)

    def listall(self) -> int:
        """All objects."""
        ns = self.connect()
        with self._told(None):
            # As texts, of which there may be many: a name has no blank, and so they are in the order of the names.
            found = sorted(f"{name} {uri}" for page in ns.flat_pages() for name, uri in page)
            pairs = (line.split(" ", 1) for line in found)
            if self._output.as_json:
                self._output.objects({"name": name, "uri": uri} for name, uri in pairs)
            elif self._output.as_tables:
                self._output.lines(table(headed(("NAME", "URI"), pairs)))
            else:
                self._output.text("-------------- START DATABASE")
                self._output.lines(printable(f"{name}  -->  {uri}") for name, uri in pairs)
                self._output.text("-------------- END")
        return self._code()

    def resolve(self, *names: str) -> int:
        """The URIs of objects."""
        ns = self.connect()

        def show(name: str) -> None:
            uri = str(ns.resolve(name))
            self._output.object(name=ns.fullName(name), uri=uri)
            self._output.text(f"{name}  --> {uri}")

        return self._each(names, show, "can't resolve")

    def register(self, name: str, uri: str) -> int:
        """Give an object a name."""
        ns = self.connect()

        def register(name: str) -> None:
            ns.register(name, uri)
            self._output.object(name=ns.fullName(name), uri=uri)
            self._output.text(f"registered {name}  -->  {uri}")

        return self._each([name], register)

    def remove(self, *names: str) -> int:
        """Take objects out."""
        ns = self.connect()
        return self._each(names, self._done(ns, ns.unregister, "{} unregistered."), "Can't unregister")

    def creategroup(self, *names: str) -> int:
        """Make groups."""
        ns = self.connect()
        return self._each(names, self._done(ns, ns.createGroup, "{} created."))

    def deletegroup(self, *names: str) -> int:
        """Take out groups with all that is in them."""
        ns = self.connect()
        return self._each(names, self._done(ns, ns.deleteGroup, "{} deleted."))

    def showmeta(self, *names: str) -> int:
        """The metadata of objects and groups."""
        ns = self.connect()

        def show(name: str) -> None:
            full, system, user = ns.fullName(name), ns._getSystemMeta(name), ns.getMeta(name)
            kind = "group" if system.type == GROUP else "object"
            text = user if isinstance(user, str) else repr(user)
            if self._output.as_json:
                known = {"timestamp": system.timestamp, "owner": system.owner, "seen": system.seen}
                self._output.object(name=full, type=kind, **known, meta=as_json(user))
            elif self._output.as_tables:
                rows = [("type", kind), ("registered", date(system.timestamp)), ("owner", system.owner or "-")]
                rows += [("last seen", date(system.seen)), ("metadata", text)]
                self._output.text(full)
                self._output.lines(table([(f"  {what}", value) for what, value in rows]))
            else:
                self._output.text(f"META INFO OF {full}", f"system meta info : {system}", f"  user meta info : {text}")

        return self._each(names, show)

    def setmeta(self, name: str, meta: str) -> int:
        """Keep a text with an object or a group."""
        ns = self.connect()

        def keep(name: str) -> None:
            ns.setMeta(name, meta)
            self._output.object(name=ns.fullName(name), meta=meta)
            self._output.text(f"Metadata of {name} set.")

        return self._each([name], keep)

    def resync(self) -> int:
        """Refused by the name server."""
        ns = self.connect()
        with self._told(None):
            ns.resync()
            self._output.object(reply="resync done")
            self._output.text("resync done")
        return self._code()

    def watch(self, group: str = ":") -> int:
        """Tell what happens to names, until the process ends."""
        ns = self.connect()
        with self._told(group):
            full = ns.fullName(group)
            ns._setTimeout(None)  # it asks for what is to come, and bounds that itself
            Watch(ns, full, self._with_all, self._output).run()
        return self._code()

    def shutdown(self) -> int:
        """Ask the name server to end."""
        given, port, bcaddr = self._place
        locator = NameServerLocator(self._identification)
        reply = locator.sendSysCommand(NS_SYSCMD_SHUTDOWN, given, port, logerrors=0, bcaddr=bcaddr)
        self._output.object(reply=reply)
        self._output.text(f"Result from system command shutdown : {reply}")
        return 0 if reply == WILL_SHUT_DOWN else NOT_ALL

    # What they have in common

    def _each(self, names: Iterable[str], work: Callable[[str], None], failed: str = "Error from NS") -> int:
        for name in names:
            with self._told(name, failed):
                work(name)
        return self._code()

    def _code(self) -> int:
        return NOT_ALL if self._names_failed else 0

    def _done(self, ns: NameServerProxy, work: Callable[[str], None], text: str) -> Callable[[str], None]:
        def do(name: str) -> None:
            work(name)
            self._output.object(name=ns.fullName(name))
            self._output.text(text.format(name))

        return do

    @contextmanager
    def _told(self, name: str | None, failed: str = "Error from NS") -> Iterator[None]:
        """Write what the name server says of a name. Raises again what says that it cannot be asked."""
        try:
            yield
        except Exception as error:
            # What has such an attribute was raised over there, whatever it is.
            if not isinstance(error, PyroError) and not hasattr(error, TRACEBACK_ATTRIBUTE):
                raise
            if isinstance(error, ProtocolError) or (isinstance(error, NamingError) and is_elsewhere(error)):
                raise
            self._names_failed += 1
            self._output.object(name=name, **_as_members(error))
            self._output.text(f"## {failed}:  {_as_text(error)}  ##")


def _as_members(error: Exception) -> dict[str, Any]:
    """What an error for scripts has: its text, and what is wrong with the name if that is no name."""
    if isinstance(error, NamingError):
        parts = [str(part) for part in error.args]
        return {"error": parts[0] if parts else "", "detail": parts[2] if len(parts) > 2 else None}
    return {"error": _as_text(error), "detail": None}


def _as_text(error: Exception) -> str:
    text = str(error)
    return text if isinstance(error, PyroError) and text else f"{type(error).__name__}: {text}"


def _machine(place: str) -> tuple[str, str]:
    """Address and name of a machine; the name is '??' if there is none, or nobody tells it in time."""
    with limit(NAME_SECONDS):
        try:
            name, _, addresses = socket.gethostbyaddr(place)
            return str(addresses[0]), str(name)
        except (OSError, UnicodeError):  # a socket file has none, either
            pass
    return place, "??"


# ---- the command line

_COMMANDS: Final = {
    "ping": Command(0, 0, "Ping needs no args"),
    "list": Command(0, ANY, ""),
    "listall": Command(0, 0, "Listall needs no args"),
    "resolve": Command(1, ANY, "No arguments, nothing to resolve"),
    "register": Command(2, 2, "Register needs 2 args: name URI"),
    "remove": Command(1, ANY, "No arguments, nothing to remove"),
    "creategroup": Command(1, ANY, "No arguments, nothing to create"),
    "deletegroup": Command(1, ANY, "No arguments, nothing to delete"),
    "showmeta": Command(1, ANY, "No arguments, nothing to show"),
    "setmeta": Command(2, 2, "Setmeta needs 2 args: name metadata"),
    "resync": Command(0, 0, "Resync needs no args"),
    "watch": Command(0, 1, "Watch needs at most 1 arg: group"),
    "shutdown": Command(0, 0, "Shutdown needs no args"),
}


def usage() -> None:
    """Print what the tool can do."""
    Output(as_json=False).lines((__doc__ or "").strip().splitlines())


def main(argv: Sequence[str] | None = None) -> int:
    """Run gpyro-nsc with these arguments (without them: the process's own); the exit code."""
    return run_control("gpyro-nsc", __doc__ or "", argv, _COMMANDS, _control)


def _control(options: Options) -> PyroNSControl:
    return PyroNSControl(
        Output(options["--json"]),
        host(options, "--host"),
        whole_number(options, "--port", 1, 65535),
        host(options, "--broadcast-address"),
        identification(options),
        options["--all"],
    )


if __name__ == "__main__":
    sys.exit(main())
