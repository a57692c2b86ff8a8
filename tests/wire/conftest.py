from __future__ import annotations

import pytest
from hypothesis import settings

# The same cases in every run, and no times that a busy machine could miss.
settings.register_profile("wire", derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="module", autouse=True)
def _same_cases() -> object:
    before = settings.default
    settings.load_profile("wire")
    yield
    settings.register_profile("before", before)
    settings.load_profile("before")


@pytest.fixture(autouse=True)
def _nothing_left() -> None:
    """Instead of the one for all tests: what does no input or output leaves nothing behind."""
