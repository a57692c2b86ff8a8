from __future__ import annotations

from gpyro.testing.serializers import SerializerContract
from gpyro.values import MsgpackSerializer


class TestMsgpackSerializer(SerializerContract):
    serializer = MsgpackSerializer
