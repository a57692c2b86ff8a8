"""Walks from a URI to its object, step by step, and says which step fails.

Usage:
  gpyro-doctor [options] URI

The URI is one of PYRO://host:port/id, PYROLOC://host:port/name and PYRONAME://name
(or PYRONAME://host:port/name, where the name server is at that host and port).

  -i ID --identification=ID    the passphrase. Everybody on this machine can see it in the
                               list of processes; better is:
  --identification-file=FILE   a file with the passphrase, and if the server wants a
                               user's name, too, that in a line above; the standard
                               input if FILE is -
  --timeout=SECONDS            how long a step may take, above 0 up to 600 [default: 5]
  --json                       print the result as JSON

  -h --help                    this text
  --version                    the version of gpyro

The steps:
  name      find the name server, and what the name stands for
  address   look up the addresses of the host
  connect   connect to each of them
  hello     see whether a gpyro server is there, and lets us in
  object    see whether it knows the object, and answers for it
  time      take the time of some calls

No method of the object is called. The exit code is 0 if all is well, 1 if a step
failed, and 2 if the arguments, among them the URI, cannot be used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any, Final

from gpyro.checkup import FAILED, Checkup, Step
from gpyro.command_line import Options, UsageError, identification, run_tool
from gpyro.conversation import shown
from gpyro.errors import ConfigurationError, NamingError, URIError
from gpyro.pyrouri import PyroURI
from gpyro.settings import config

LONGEST: Final = 600.0

_INDENT: Final = " " * 18


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool with these arguments (without them: the process's own); the exit code."""
    return run_tool("gpyro-doctor", __doc__ or "", argv, _run)


def _run(options: Options) -> int:
    try:
        config.snapshot()
    except ConfigurationError as error:
        raise UsageError(str(error)) from None
    seconds, uri = _seconds(options["--timeout"]), _uri(options["URI"])
    checkup = Checkup(uri, identification(options), seconds)
    tell = _tell_as_json if options["--json"] else _tell
    return 0 if tell(uri, checkup.run()) else 1


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"--timeout must be a number above 0 up to {LONGEST:g}, not {text!r}")
    return seconds


def _uri(text: str) -> PyroURI:
    try:
        if "://" not in text:
            raise URIError(f"{text!r} is no URI such as PYRO://host:port/id, PYROLOC://host:port/name, PYRONAME://name")
        return PyroURI(text)
    except (URIError, NamingError) as error:
        raise UsageError(shown(str(error))) from None


def _tell(uri: PyroURI, steps: Iterator[Step]) -> bool:
    """Print each step when it is over; whether none failed."""
    print(uri, flush=True)
    well = True
    for step in steps:
        well = well and step.status != FAILED
        lines = [f"{step.step:<9}{step.status:<9}{step.text}", *(_INDENT + detail for detail in step.details)]
        if step.hint:
            lines.append(f"{_INDENT}hint: {step.hint}")
        for line in lines:
            print("".join(character if character.isprintable() else "?" for character in line), flush=True)
    return well


def _tell_as_json(uri: PyroURI, steps: Iterator[Step]) -> bool:
    """Print all steps when they are over; whether none failed."""
    told: list[dict[str, Any]] = []
    start = perf_counter()
    for step in steps:
        now = perf_counter()
        told.append({**asdict(step), "seconds": round(now - start, 6)})
        start = now
    well = all(step["status"] != FAILED for step in told)
    print(json.dumps({"uri": str(uri), "ok": well, "steps": told}, indent=2), flush=True)
    return well


if __name__ == "__main__":
    sys.exit(main())
