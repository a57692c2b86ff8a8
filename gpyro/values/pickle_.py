"""pickle, for networks where every peer is trusted: its bytes can run any code."""

from __future__ import annotations

import io
import pickle
from typing import Any, ClassVar

from gpyro.errors import SerializationError

from .bound import BoundRegistry
from .guard import check_length
from .refusal import brief
from .serializer import Body, Serializer

_PROTOCOL = 5


class _Pickler(pickle.Pickler):
    """Takes a memoryview as its bytes, as the other serializers do."""

    def reducer_override(self, value: Any) -> Any:
        """How a value of a type that pickle does not know by itself is made again."""
        return (bytes, (value.tobytes(),)) if type(value) is memoryview else NotImplemented


class PickleSerializer(Serializer):
    """pickle, protocol 5. Both sides have to switch it on, and the registry plays no part in it except for errors."""

    name: ClassVar[str] = "pickle"
    trusted_only: ClassVar[bool] = True
    passes_references: ClassVar[bool] = False

    def encode(self, value: Any, root: str = "result") -> bytes:
        """See `Serializer.encode`; the path in errors is no longer than `root`."""
        try:
            body = self._dumps(value)
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
            return self._loads(body)
        except Exception as error:
            raise SerializationError(f"the bytes are no value: {brief(error)}") from error

    def _dumps(self, value: Any) -> bytes:
        registry = self.registry
        if not isinstance(registry, BoundRegistry):
            try:
                return pickle.dumps(value, _PROTOCOL)  # the quickest
            except TypeError:
                pass  # perhaps it is only a memoryview
        file = io.BytesIO()
        pickler = _Pickler(file, _PROTOCOL)
        if isinstance(registry, BoundRegistry):
            pickler.persistent_id = registry.persistent_id  # type: ignore[method-assign]
        pickler.dump(value)
        return file.getvalue()

    def _loads(self, body: Body) -> Any:
        registry = self.registry
        if not isinstance(registry, BoundRegistry):
            return pickle.loads(body)
        unpickler = pickle.Unpickler(io.BytesIO(body))
        unpickler.persistent_load = registry.persistent_load  # type: ignore[method-assign]
        return unpickler.load()
