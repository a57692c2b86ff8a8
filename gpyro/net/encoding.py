"""The serializer that a connection uses, within the limits that its end is configured with."""

from __future__ import annotations

from gpyro.settings import Settings
from gpyro.values import Limits, Serializer, serializer_by_name


def serializer_for(name: str, settings: Settings) -> Serializer:
    """The serializer of that name with the limits of `settings`. Raises ConfigurationError if there is none."""
    limits = Limits(
        max_bytes=settings.PYRO_MAX_MESSAGE,
        max_containers=settings.PYRO_MAX_CONTAINERS,
        max_depth=settings.PYRO_MAX_DEPTH,
    )
    return serializer_by_name(name, limits)
