"""The rules of the name space: what names there may be, and what may be done with them.

No input or output, no clock, no greenlets: names are kept by a store that is handed in.
"""

from __future__ import annotations

from .records import GROUP, OBJECT, NameSpaceSystemMeta, Node, Record
from .space import NameEvent, NameSpace

__all__ = ["GROUP", "OBJECT", "NameEvent", "NameSpace", "NameSpaceSystemMeta", "Node", "Record"]
