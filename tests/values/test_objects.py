from __future__ import annotations

from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.testing.samples import Point, registry_of_samples
from gpyro.values.objects import make_object

REGISTRY = registry_of_samples()


def test_an_object_is_made_by_its_name() -> None:
    assert make_object(["gpyro.testing.samples.Point", {"x": 1}], REGISTRY) == Point(1)


@pytest.mark.parametrize("state", [None, [], ["a"], [1, 2], ["a", 1, 2], {"a": 1}])
def test_another_shape_is_refused(state: Any) -> None:
    with pytest.raises(SerializationError, match="not an instance"):
        make_object(state, REGISTRY)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "", "gpyro.testing.samples.AppError"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(SerializationError, match="is not registered in the receiving process"):
        make_object([name, {}], REGISTRY)
