"""Look on what an event server does, and publish and read events: event server control.

Usage:
  gpyro-esc [options] COMMAND [ARGUMENT...]
  gpyro-esc --help | --version

Commands:
  ping                   see whether it answers
  list                   topics and subscribers
  topics                 the subjects that were published on or are subscribed to, how
                         many events and subscribers each has
  subscribers            who subscribed to what, since when, what waits for them, and
                         what they lost
  publish SUBJECT [VALUE]  publish an event: a text, None without VALUE; if VALUE is -,
                         one for each line of the standard input
  tail [SUBJECT...]      tell events while they come, until Ctrl-C; without SUBJECT all
  help                   this text

Which event server:
  -u URI --uri=URI       its URI, or HOST or HOST:PORT. Without, the name server is asked

Who asks:
  -i ID --identification=ID  the passphrase. Everybody on this machine can see it in the
                         list of processes; better is:
  --identification-file=FILE  a file with the passphrase, or with a user's name in a line
                         above; the standard input if FILE is -

  --json                 write a JSON object for each line
  --json-value           have publish read VALUE, and lines, as JSON
  -m --match             SUBJECTs of tail are patterns: regular expressions that have to
                         match from the beginning
  -c COUNT --count=COUNT  have tail end after so many events
  -h --help              this text
  --version              the version of gpyro

Behind -- anything may begin with a dash.

The exit code is 0 if all went well; 1 if an event was refused, or the output could not
be written; 2 if the arguments, or the configuration, cannot be used; 3 if the event
server, or the name server, is not found, cannot be reached, or refuses; 130 at Ctrl-C;
141 if nobody reads the output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from gevent import get_hub

from gpyro.command_line import Options, UsageError, identification, whole_number
from gpyro.constants import EVENTSERVER_NAME, TRACEBACK_ATTRIBUTE
from gpyro.context import deadline
from gpyro.control import ANY, NOT_ALL, Command, run_control
from gpyro.control_output import Output, date, headed, table
from gpyro.errors import NamingError, PyroError, SerializationError, URIError
from gpyro.esc_tail import Tail
from gpyro.event_census import all_pages
from gpyro.event_link import EventServer
from gpyro.pyrouri import PyroURI
from gpyro.topics import Pattern, PatternError, SubjectError, fold, subjects_of

CALL_SECONDS: Final = 30.0
"""Seconds that the event server has for each answer."""

EVERYTHING: Final = ".*"
"""The pattern of all subjects."""

STANDARD_INPUT: Final = "-"

_SHOWN: Final = 3

_TOPICS: Final = ("SUBJECT", "EVENTS", "LAST", "SUBSCRIBERS")
_SUBSCRIBERS: Final = ("FROM", "SINCE", "WAITING", "BYTES", "SENT", "GOT", "LOST", "IF FULL", "SUBSCRIBED TO")

_Row = dict[str, Any]


class EventServerControl:
    """The commands. Each takes its arguments, writes what comes of it, and gives the exit code.

    Every command raises ProtocolError or NamingError if the event server cannot be asked.
    """

    def __init__(
        self,
        output: Output,
        uri: PyroURI | None = None,
        identification: str | tuple[str, str] | None = None,
        values_are_json: bool = False,
        match: bool = False,
        most: int | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            output: where to write.
            uri: where the event server is; None for asking the name server.
            identification: the passphrase.
            values_are_json: whether `publish` takes values for JSON.
            match: whether `tail` takes patterns.
            most: events after which `tail` ends; None for never.
        """
        self._output = output
        self._uri, self._identification = uri, identification
        self._server = EventServer(identification, uri)
        self._values_are_json, self._match, self._most = values_are_json, match, most
        self._refused = 0

    # Commands

    def ping(self) -> int:
        """See whether it answers."""
        begun = monotonic()
        found = self._ask("info")
        seconds, uri = monotonic() - begun, str(self._server.proxy().URI)
        self._output.object(uri=uri, seconds=seconds, since=found["since"], events=found["number"])
        self._output.text(
            "ES is up and running!", f"{uri}, since {date(found['since'])}, {_counted(found['number'], 'event')}"
        )
        return 0

    def list(self) -> int:
        """Topics and subscribers."""
        self.topics()
        self._output.text("")
        return self.subscribers()

    def topics(self) -> int:
        """The subjects."""
        rows = self._rows("topics", "subject", "")
        if self._output.as_json:
            self._output.objects({"kind": "topic", **row} for row in rows)
        else:
            self._output.lines(table(headed(_TOPICS, map(_of_topic, rows))))
        return 0

    def subscribers(self) -> int:
        """Who subscribed."""
        rows = self._rows("subscribers", "number", 0)
        if self._output.as_json:
            self._output.objects({"kind": "subscriber", **row} for row in rows)
        else:
            self._output.lines(table(headed(_SUBSCRIBERS, map(_of_subscriber, rows))))
        return 0

    def publish(self, subject: str, value: str | None = None) -> int:
        """Publish an event, or one for each line of the standard input."""
        _check_subjects([subject])
        published = 0
        if value == STANDARD_INPUT:
            for number, line in enumerate(_lines(), 1):
                published += self._publish_text(subject, line, f"line {number}")
        elif value is None:
            published += self._publish(subject, None)
        else:
            published += self._publish_text(subject, value, "VALUE")
        self._output.object(subject=subject, published=published)
        self._output.text(f"{_counted(published, 'event')} published on {subject}")
        return NOT_ALL if self._refused else 0

    def tail(self, *words: str) -> int:
        """Tell events while they come."""
        subjects, patterns = ([], [*words]) if self._match else ([*words], [])
        if self._match:
            _check_patterns(patterns)
        else:
            _check_subjects(subjects)
        if not words:
            patterns = [EVERYTHING]
        tail = Tail(self._output, self._identification, self._uri, self._most)
        with self._is_event_server(), deadline(CALL_SECONDS):
            tail.follow(subjects, patterns)
        tail.run()
        return 0

    # What they have in common

    def _ask(self, method: str, *arguments: Any) -> Any:
        with self._is_event_server(), deadline(CALL_SECONDS):
            return self._server.call(method, *arguments)

    @contextmanager
    def _is_event_server(self) -> Iterator[None]:
        """Raises PyroError: what answers is something else."""
        try:
            yield
        except NamingError as error:
            if error.args[:2] == ("name not found", EVENTSERVER_NAME):
                raise NamingError("the name server knows of no event server") from error
            raise
        except Exception as error:
            # What has such an attribute was raised over there, whatever it is; a method that is not there was not.
            raised_there = isinstance(error, AttributeError) or hasattr(error, TRACEBACK_ATTRIBUTE)
            if isinstance(error, PyroError) or not raised_there:
                raise
            where = self._uri or self._server.proxy().URI
            raise PyroError(f"{where} does not answer as an event server: {type(error).__name__}: {error}") from error

    def _rows(self, method: str, key: str, first: Any) -> Iterator[_Row]:
        return all_pages(lambda after: self._ask(method, after), key, first)

    def _publish_text(self, subject: str, text: str, what: str) -> int:
        value: Any = text
        if self._values_are_json:
            try:
                value = json.loads(text, parse_constant=_no_number)
            except (ValueError, RecursionError) as error:
                return self._refuse(subject, f"{what} is no JSON: {error}")
        return self._publish(subject, value)

    def _publish(self, subject: str, value: Any) -> int:
        """Publish; how many events."""
        try:
            self._ask("publish", subject, value)
        except SerializationError as error:
            return self._refuse(subject, str(error))
        return 1

    def _refuse(self, subject: str, why: str) -> int:
        self._refused += 1
        self._output.object(subject=subject, error=why)
        self._output.text(f"## can't publish:  {why}  ##")
        return 0


def _of_topic(row: _Row) -> Sequence[str]:
    return row["subject"], str(row["published"]), date(row["last"]), str(row["subscribers"])


def _of_subscriber(row: _Row) -> Sequence[str]:
    subscribed = [*row["subjects"], *(f"/{pattern}/" for pattern in row["patterns"])]
    more = row["subscriptions"] - _SHOWN
    shown = ", ".join(subscribed[:_SHOWN]) + (f", and {more} more" if more > 0 else "")
    numbers = (str(row[key]) for key in ("waiting", "bytes", "sent", "delivered", "lost"))
    return row["address"] or "-", date(row["since"]), *numbers, row["policy"], shown


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _lines() -> Iterator[str]:
    """The lines of the standard input, as they come."""
    if sys.stdin is None:  # a shell's <&-
        return
    pool = get_hub().threadpool  # so that the loop goes on meanwhile
    while line := pool.apply(_next_line):
        if isinstance(line, Exception):
            raise OSError(f"the standard input cannot be read: {line}")
        yield line.rstrip("\r\n")


def _next_line() -> str | Exception:
    try:
        return sys.stdin.readline()
    except (OSError, UnicodeDecodeError) as error:  # what a thread of the pool raises is printed
        return error


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _check_subjects(subjects: Iterable[str]) -> None:
    try:
        for subject in subjects_of(list(subjects)):
            fold(subject)
    except SubjectError as error:
        raise UsageError(f"SUBJECT: {error}") from None


def _check_patterns(patterns: Iterable[str]) -> None:
    try:
        for text in subjects_of(list(patterns), "pattern"):
            Pattern(text)
    except (SubjectError, PatternError) as error:
        raise UsageError(f"SUBJECT: {error}") from None


# ---- the command line

_COMMANDS: Final = {
    "ping": Command(0, 0, "Ping needs no args"),
    "list": Command(0, 0, "List needs no args"),
    "topics": Command(0, 0, "Topics needs no args"),
    "subscribers": Command(0, 0, "Subscribers needs no args"),
    "publish": Command(1, 2, "Publish needs 1 or 2 args: subject value"),
    "tail": Command(0, ANY, ""),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run gpyro-esc with these arguments (without them: the process's own); the exit code."""
    return run_control("gpyro-esc", __doc__ or "", argv, _COMMANDS, _control)


def _control(options: Options) -> EventServerControl:
    reads_events = options["COMMAND"] == "publish" and options["ARGUMENT"][-1] == STANDARD_INPUT
    if reads_events and options["--identification-file"] == STANDARD_INPUT:
        raise UsageError("--identification-file: the passphrase and the events cannot both be the standard input")
    return EventServerControl(
        Output(options["--json"]),
        _place(options["--uri"]),
        identification(options),
        options["--json-value"],
        options["--match"],
        whole_number(options, "--count", 1, sys.maxsize),
    )


def _place(text: str | None) -> PyroURI | None:
    if text is None:
        return None
    try:
        return PyroURI(text if "://" in text else f"PYROLOC://{text}/{EVENTSERVER_NAME}")
    except (URIError, NamingError) as error:
        raise UsageError(f"--uri: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
