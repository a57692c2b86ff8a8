"""GUIDs: ids that nobody can guess and that never repeat.

Pyro 3 built them from the IP address, the process id and the clock, so that whoever saw one could guess the next. Here
all 128 bits are random. They keep Pyro's look, 32 hexadecimal digits in four groups::

    0a000096-08620ada-6697d564-62110a9f
"""

from __future__ import annotations

from os import urandom


def getGUID() -> str:
    """Return a new GUID.

    It comes from the operating system's cryptographic source, which keeps no state in the process: threads, greenlets
    and forked children cannot get the same one.
    """
    digits = urandom(16).hex()
    return f"{digits[:8]}-{digits[8:16]}-{digits[16:24]}-{digits[24:]}"
