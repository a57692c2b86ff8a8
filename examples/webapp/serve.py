"""Serve the web application with gevent's own WSGI server, in one process.

Usage:
  serve.py [--port PORT]
  serve.py -h | --help

  --port PORT  the port to listen on, for programs of this machine; 0 for any free one [default: 8000]

SIGTERM or Ctrl-C ends it, when the requests that run are answered.
"""

from __future__ import annotations

# Before any other import. gpyro does not need it, but what else an application uses may block all other requests
# unless it is patched: locks, time.sleep, database drivers, HTTP clients.
from gevent import monkey

monkey.patch_all()

import contextlib
import signal
import sys

import gevent
from app import app
from docopt import docopt
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

MAX_CONNECTIONS = 1000
KEEP_ALIVE = 2.0
"""Seconds an open connection may be silent between two requests."""
GRACE = 30.0
"""Seconds that running requests get at the end."""


class Handler(WSGIHandler):
    """Closes connections that are silent, so that nobody's open browser delays the end."""

    def read_requestline(self) -> str:
        """The first line of the next request, or nothing."""
        with gevent.Timeout(KEEP_ALIVE, False):
            return str(super().read_requestline())
        return ""


def main() -> None:
    """Serve until the end."""
    arguments = docopt(__doc__)
    # The server waits for running requests only if they run in a pool.
    pool = Pool(MAX_CONNECTIONS)
    try:
        server = WSGIServer(("127.0.0.1", int(arguments["--port"])), app, spawn=pool, handler_class=Handler)
        server.start()
    except (ValueError, OverflowError, OSError) as error:
        sys.exit(f"serve.py: cannot listen on port {arguments['--port']}: {error}")
    print(f"http://127.0.0.1:{server.server_port}", flush=True)

    def stop() -> None:
        """Accept no more. A second Ctrl-C does not wait for the requests that run."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        server.close()

    gevent.signal_handler(signal.SIGTERM, stop)
    gevent.signal_handler(signal.SIGINT, stop)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(stop_timeout=GRACE)  # when it was closed, it waits for the requests that run


if __name__ == "__main__":
    main()
