from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _nothing_left() -> None:
    """Instead of the one for all tests: what does no input or output leaves nothing behind."""
