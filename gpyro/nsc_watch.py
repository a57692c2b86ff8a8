"""``gpyro-nsc watch``: telling what happens to names, while it happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import gevent

from gpyro.context import deadline
from gpyro.control_output import Output, date
from gpyro.errors import PyroError
from gpyro.names import ROOT, SEPARATOR
from gpyro.namespace import GROUP, OBJECT, NameEvent
from gpyro.naming import NameServerProxy

BETWEEN_TRIES: Final = 0.2
"""Seconds between two attempts to reach a name server that was lost."""

LONGEST_TRY: Final = 10.0
"""Seconds for one of them."""

_TEXTS: Final = {
    "watching": "watching {name}, {names} names",
    "present": "present {name}  -->  {uri}",
    "group_present": "group present {name}",
    "registered": "registered {name}  -->  {uri}",
    "replaced": "replaced {name}  -->  {uri}  (was {was})",
    "removed": "removed {name}  (was {was})",
    "group_created": "group created {name}",
    "group_deleted": "group deleted {name}",
    "lost": "name server lost: {reason}",
    "back": "name server is back at {uri}",
}

_Known = tuple[int, str]  # type and URI


class Watch:
    """Follows the names of a name server, be it restarted, and tells what happens to those in a group."""

    def __init__(self, ns: NameServerProxy, group: str, with_all: bool, output: Output) -> None:
        """Nothing is asked yet.

        Args:
            ns: the name server.
            group: absolute name of the group, or of one object; it need not be there.
            with_all: whether to tell first what is there already.
            output: where to.
        """
        self._ns, self._group, self._with_all, self._output = ns, group, with_all, output
        self._inside = ROOT if group == ROOT else group + SEPARATOR
        self._known: dict[str, _Known] = {}

    def run(self) -> NoReturn:
        """Tell what happens, until the process ends."""
        is_new, is_lost = True, False
        with self._ns.view() as view:
            while True:
                try:
                    events = view.next(0 if is_lost else None)
                except PyroError as error:  # whatever it is, the next attempt may do better
                    if not is_lost:
                        self._tell("lost", reason=str(error))
                    is_lost = True
                    gevent.sleep(BETWEEN_TRIES)
                    self._look_for_it()
                    continue
                if is_lost:
                    is_lost = False
                    self._tell("back", uri=str(self._ns.URI))
                if is_new:
                    is_new = False
                    self._begin(events)
                else:
                    self._show(events)

    def _look_for_it(self) -> None:
        """Have the proxy find out where it is now: the view asks only where it was."""
        with contextlib.suppress(PyroError), deadline(LONGEST_TRY):
            self._ns.ping()

    def _begin(self, events: Iterable[NameEvent]) -> None:
        self._known = {
            name: (kind, uri)
            for name, kind, uri in sorted(events, key=lambda event: event.name)
            if kind is not None and self._concerns(name)
        }
        self._tell("watching", name=self._group, names=len(self._known))
        if self._with_all:
            for name, (kind, uri) in self._known.items():
                if kind == GROUP:
                    self._tell("group_present", name=name)
                else:
                    self._tell("present", name=name, uri=uri)

    def _concerns(self, name: str) -> bool:
        return name == self._group or name.startswith(self._inside)

    def _show(self, events: Iterable[NameEvent]) -> None:
        for name, kind, uri in events:
            if self._concerns(name):
                self._show_one(name, self._known.get(name), None if kind is None else (kind, uri))

    def _show_one(self, name: str, before: _Known | None, now: _Known | None) -> None:
        if before == now:  # only its metadata changed
            return
        if before and now and before[0] == now[0] == OBJECT:
            self._tell("replaced", name=name, uri=now[1], was=before[1])
        else:
            if before:
                self._tell_gone(name, before)
            if now and now[0] == GROUP:
                self._tell("group_created", name=name)
            elif now:
                self._tell("registered", name=name, uri=now[1])
        if now:
            self._known[name] = now
        else:
            del self._known[name]

    def _tell_gone(self, name: str, was: _Known) -> None:
        if was[0] == GROUP:
            self._tell("group_deleted", name=name)
        else:
            self._tell("removed", name=name, was=was[1])

    def _tell(self, event: str, **members: Any) -> None:
        now = time.time()
        self._output.object(time=now, event=event, **members)
        self._output.text(f"{date(now)}  {_TEXTS[event].format_map(members)}")
