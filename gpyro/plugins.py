"""What programs can add to gpyro: serializers of their own."""

from __future__ import annotations

from gpyro.items import SERIALIZERS
from gpyro.values import Serializer
from gpyro.values.choice import add_serializer


def register_serializer(cls: type[Serializer]) -> type[Serializer]:
    """Make a serializer known by its `name`, which PYRO_SERIALIZER can then say. Can be used as a decorator.

    To be called on both sides, before the configuration names it. `gpyro.testing.serializers.SerializerContract` is the
    test that it has to pass.

    Args:
        cls: a subclass of `gpyro.values.Serializer` with a name.

    Raises:
        TypeError: it is no such class, or still has abstract methods.
        ValueError: its name is no name, or taken by another class.
    """
    add_serializer(cls)
    if cls.name not in SERIALIZERS:
        SERIALIZERS.append(cls.name)
    return cls
