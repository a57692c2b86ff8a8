from __future__ import annotations

from gpyro.testing.serializers import SerializerContract
from gpyro.values import PickleSerializer


class TestPickleSerializer(SerializerContract):
    serializer = PickleSerializer
