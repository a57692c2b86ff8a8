"""Constants that programs and both ends of a connection share (Pyro 3's ``Pyro.constants``)."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"

# Pyro 3's well-known names and ids, kept so that ported programs find them.
INTERNAL_DAEMON_GUID: Final = "c0000000011000001000000010000001"
NAMESERVER_NAME: Final = ":Pyro.NameServer"
EVENTSERVER_NAME: Final = ":Pyro.EventService"
TRACEBACK_ATTRIBUTE: Final = "remote_stacktrace"

# Flags of `ObjBase.Pyro_dyncall`.
RIF_Varargs: Final = 1
RIF_Keywords: Final = 2
RIF_Oneway: Final = 4

# Why a daemon refuses a connection.
DENIED_UNSPECIFIED: Final = 0
DENIED_SERVERTOOBUSY: Final = 1
DENIED_HOSTBLOCKED: Final = 2
DENIED_SECURITY: Final = 3

deniedReasons: Final[dict[int, str]] = {
    DENIED_UNSPECIFIED: "unspecified reason",
    DENIED_SERVERTOOBUSY: "server too busy",
    DENIED_HOSTBLOCKED: "host blocked",
    DENIED_SECURITY: "security reasons",
}
