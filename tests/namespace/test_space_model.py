"""The name space beside a model that is as simple as can be: a dict of absolute names, without a store."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gpyro import names
from gpyro.errors import NamingError
from gpyro.namespace import NameSpace
from gpyro.stores import MemoryStore
from gpyro.testing.clock import FakeClock

PARTS = st.sampled_from(["a", "b", "a/", "Default"])
GOOD = st.builds(
    lambda colon, parts: colon + ".".join(parts), st.sampled_from(["", ":"]), st.lists(PARTS, min_size=1, max_size=4)
)
NAMES = st.one_of(GOOD, GOOD, GOOD, st.sampled_from([":", "", "a..b", "a.", ":a:b", "a\\", "\xe4", "a b", ".", "::"]))
URIS = st.sampled_from(["PYRO://h:1/x", "PYROLOC://h:2/y", "nothing"])
METAS = st.sampled_from([None, 1, "text", (1, 2)])


class Model:
    """Names and what they are: None for a group, else the URI."""

    def __init__(self) -> None:
        self.uris: dict[str, str | None] = {":": None, ":Pyro": None, ":Default": None}
        self.metas: dict[str, Any] = {}

    def full(self, name: str, text: str = "invalid name") -> str:
        if names.fault(name):
            raise NamingError(text, name)
        return name if name.startswith(":") else f":Default.{name}"

    def above(self, name: str) -> list[str]:
        """The names on the way to this one, from the root on."""
        parts = name[1:].split(".")[:-1]
        return [":"] * (name != ":") + [":" + ".".join(parts[: count + 1]) for count in range(len(parts))]

    def create(self, name: str, uri: str | None, taken: str) -> None:
        for above in self.above(name):
            if above not in self.uris:
                raise NamingError("(parent)group not found", above)
            if self.uris[above] is not None:
                raise NamingError("parent is no group", above)
        if name in self.uris:
            raise NamingError(taken, name)
        self.uris[name] = uri

    def register(self, name: str, uri: str) -> None:
        name = self.full(name)
        if uri == "nothing":
            raise NamingError("invalid URI", uri)
        self.create(name, uri, "name already exists")

    def createGroup(self, name: str) -> None:
        self.create(self.full(name, "invalid groupname"), None, "group already exists")

    def known(self, name: str, text: str = "name not found") -> str:
        if name not in self.uris:
            raise NamingError(text, name)
        return name

    def group(self, name: str) -> str:
        if self.uris[self.known(name, "group not found")] is not None:
            raise NamingError("is no group", name)
        return name

    def unregister(self, name: str) -> None:
        name = self.known(self.full(name))
        if self.uris[name] is None:
            raise NamingError("is a group, not an object", name)
        self.remove(name)

    def remove(self, name: str) -> None:
        del self.uris[name]
        self.metas.pop(name, None)

    def deleteGroup(self, name: str) -> None:
        name = self.full(name, "invalid groupname")
        if name == ":":
            raise NamingError("not allowed to delete root group", name)
        self.group(name)
        for other in [*self.uris]:
            if other == name or name in self.above(other):
                self.remove(other)

    def resolve(self, name: str) -> str:
        name = self.full(name)
        if any(self.uris.get(above) is not None for above in self.above(name)):
            raise NamingError("group not found", name)
        uri = self.uris[self.known(name)]
        if uri is None:
            raise NamingError("attempt to resolve groupname", name)
        return uri

    def list(self, name: str | None) -> Any:
        name = self.group(self.full(name, "invalid groupname") if name else ":")
        return sorted(
            (other[1:].split(".")[-1], int(uri is not None))
            for other, uri in self.uris.items()
            if other != ":" and self.above(other)[-1] == name
        )

    def flatlist(self) -> Any:
        return sorted((name, uri) for name, uri in self.uris.items() if uri is not None)

    def setMeta(self, name: str, meta: Any) -> None:
        self.metas[self.known(self.full(name))] = meta

    def getMeta(self, name: str) -> Any:
        return self.metas.get(self.known(self.full(name)))


class NameSpaceBesideItsModel(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.store = MemoryStore(clock=FakeClock())
        self.store.open()
        self.space = NameSpace(self.store, FakeClock())
        self.space.prepare()
        self.model = Model()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def both(self, operation: str, *arguments: Any) -> None:
        results: list[tuple[str, Any]] = []
        for side in (self.model, self.space):
            try:
                results.append(("returned", getattr(side, operation)(*arguments)))
            except NamingError as error:
                results.append(("raised", error.args[:2]))
        assert results[0] == results[1]

    @rule(name=NAMES, uri=URIS)
    def register(self, name: str, uri: str) -> None:
        self.both("register", name, uri)

    @rule(name=NAMES)
    def create_group(self, name: str) -> None:
        self.both("createGroup", name)

    @rule(name=NAMES)
    def unregister(self, name: str) -> None:
        self.both("unregister", name)

    @rule(name=NAMES)
    def delete_group(self, name: str) -> None:
        self.both("deleteGroup", name)

    @rule(name=NAMES)
    def resolve(self, name: str) -> None:
        self.both("resolve", name)

    @rule(name=st.one_of(st.none(), NAMES))
    def list(self, name: str | None) -> None:
        self.both("list", name)

    @rule(name=NAMES, meta=METAS)
    def set_meta(self, name: str, meta: Any) -> None:
        self.both("setMeta", name, meta)

    @rule(name=NAMES)
    def get_meta(self, name: str) -> None:
        self.both("getMeta", name)

    @invariant()
    def are_alike(self) -> None:
        if hasattr(self, "model"):
            self.both("flatlist")
            assert {node.name for node in self.space.walk()} == {*self.model.uris} - {":"}


TestNameSpaceBesideItsModel = NameSpaceBesideItsModel.TestCase
TestNameSpaceBesideItsModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
