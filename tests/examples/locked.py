"""The example's application with what many applications have: a lock made at import, and held while a call runs."""

from __future__ import annotations

import threading
from typing import Any

from app import app, warehouse

_lock = threading.Lock()


@app.get("/locked")
def locked() -> Any:
    with _lock:
        return warehouse.articles()
