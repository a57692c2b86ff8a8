"""Values know neither greenlets nor descriptors, so the search for what a test left behind is made once for all of
them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gpyro.values import packing


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    threads = threading.active_count()
    yield
    assert threading.active_count() == threads
    assert packing._raised.get() is None
