"""pickle, for networks where every peer is trusted: its bytes can run any code."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

from gpyro.errors import SerializationError

from .guard import check_length
from .refusal import brief
from .serializer import Body, Serializer

_PROTOCOL = 5


class PickleSerializer(Serializer):
    """pickle, protocol 5. Both sides have to switch it on, and the registry plays no part in it except for errors."""

    name: ClassVar[str] = "pickle"
    trusted_only: ClassVar[bool] = True

    def encode(self, value: Any, root: str = "result") -> bytes:
        """See `Serializer.encode`; the path in errors is no longer than `root`."""
        try:
            body = pickle.dumps(value, _PROTOCOL)
            check_length(len(body), self.limits)
        except Exception as error:
            raise SerializationError(f"{root}: {error}", root) from error
        return body

    def encode_call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """See `Serializer.encode_call`."""
        return self.encode([method, args, kwargs], "args")

    def decode(self, body: Body) -> Any:
        """See `Serializer.decode`."""
        check_length(len(body), self.limits)
        try:
            return pickle.loads(body)
        except Exception as error:
            raise SerializationError(f"the bytes are no value: {brief(error)}") from error
