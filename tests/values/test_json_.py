from __future__ import annotations

from gpyro.testing.serializers import SerializerContract
from gpyro.values import JsonSerializer


class TestJsonSerializer(SerializerContract):
    serializer = JsonSerializer
