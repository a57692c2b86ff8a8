"""Stores of names: the contract that all of them keep, and those that live inside a process."""

from __future__ import annotations

from gpyro.store_contract import Store

from .memory import MemoryStore
from .sqlite import SqliteStore

__all__ = ["MemoryStore", "SqliteStore", "Store"]
