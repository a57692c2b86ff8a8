"""What of an object can be reached, asked through a proxy of the object."""

from __future__ import annotations

import functools
import random

import pytest

import gpyro
from gpyro import core
from gpyro.exposure import Members
from gpyro.objects import HIDDEN
from tests.support import serving, uri_of

METHOD, ATTRIBUTE, UNKNOWN = 1, 2, 0


def offered(obj, *names):
    """What a client is told that each of the names is."""
    with serving(obj) as daemon:
        proxy = core.getAttrProxyForURI(uri_of(daemon, obj))
        found = tuple(proxy.findattr(name) for name in names)
        # What it is told is what it gets.
        for name, kind in zip(names, found, strict=True):
            if kind != METHOD:
                with pytest.raises(AttributeError):
                    proxy._invokePYRO(name, (), {})
            if kind == UNKNOWN:
                with pytest.raises(AttributeError):
                    getattr(proxy, name)
                with pytest.raises(AttributeError):
                    setattr(proxy, name, "written")
                assert "written" not in vars(obj).values()
        proxy._release()
    return found


class Grandparent:
    inherited_data = 1

    def inherited(self):
        return "inherited"

    def overridden(self):
        return "of the base"


class Everything(Grandparent):
    data = (1, 2)

    def __init__(self):
        self.own_data = 5
        self.own_callable = lambda: "never"

    def overridden(self):
        return "of the derived"

    def plain(self):
        return "plain"

    @staticmethod
    def static(value):
        return value

    @classmethod
    def of_class(cls):
        return cls.__name__

    def add(self, first, second=0):
        return first + second

    add_ten = functools.partialmethod(add, 10)
    short = lambda self: "lambda"  # noqa: E731

    @functools.singledispatchmethod
    def kind(self, value):
        return "other"

    @kind.register
    def _(self, value: int):
        return "int"

    @property
    def computed(self):
        return self.own_data + 1

    @computed.setter
    def computed(self, value):
        self.own_data = value - 1

    @property
    def fixed(self):
        return "fixed"

    @functools.cached_property
    def cached(self):
        return "cached"

    class Nested:
        pass


def test_public_methods_of_every_kind_are_called():
    obj = Everything()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.inherited() == "inherited"
        assert proxy.overridden() == "of the derived"
        assert proxy.plain() == "plain"
        assert proxy.static(3) == 3
        assert proxy.of_class() == "Everything"
        assert proxy.add(1, second=2) == 3
        assert proxy.add_ten(5) == 15
        assert proxy.short() == "lambda"
        assert (proxy.kind(1), proxy.kind("x")) == ("int", "other")
        proxy._release()


def test_methods_attributes_and_unknown_names_are_told_apart():
    names = ("plain", "static", "of_class", "add_ten", "short", "kind", "inherited", "overridden")
    assert offered(Everything(), *names) == (METHOD,) * len(names)
    names = ("data", "inherited_data", "own_data", "computed", "fixed", "cached")
    assert offered(Everything(), *names) == (ATTRIBUTE,) * len(names)
    assert offered(Everything(), "nothing", "Plain", "plain ", "") == (UNKNOWN,) * 4


def test_data_attributes_are_read_and_written_but_methods_are_not():
    obj = Everything()
    with serving(obj) as daemon:
        proxy = core.getAttrProxyForURI(uri_of(daemon, obj))
        assert (proxy.data, proxy.inherited_data, proxy.own_data) == ((1, 2), 1, 5)
        assert (proxy.computed, proxy.fixed, proxy.cached) == (6, "fixed", "cached")
        proxy.own_data = 7
        assert (obj.own_data, proxy.computed) == (7, 8)
        proxy.computed = 11
        assert obj.own_data == 10
        with pytest.raises(AttributeError):
            proxy.fixed = 1
        with pytest.raises(AttributeError, match="not an attribute"):
            proxy.plain = 1
        with pytest.raises(AttributeError, match="not an attribute"):
            proxy.brand_new = 1
        assert not hasattr(obj, "brand_new")
        assert proxy.plain() == "plain"
        proxy._release()


def test_a_nested_class_and_a_callable_attribute_are_not_methods():
    obj = Everything()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        with pytest.raises(AttributeError):
            proxy.Nested()
        with pytest.raises(AttributeError):
            proxy.own_callable()
        # And no data, that somebody could exchange.
        attributes = core.getAttrProxyForURI(uri_of(daemon, obj))
        for name in ("Nested", "own_callable"):
            assert attributes.findattr(name) == UNKNOWN
            with pytest.raises(AttributeError, match="offers no"):
                getattr(attributes, name)
            with pytest.raises(AttributeError, match="not an attribute"):
                setattr(attributes, name, 5)
        for one in (proxy, attributes):
            one._release()


@pytest.mark.parametrize("base", [core.ObjBase, core.SynchronizedObjBase, core.CallbackObjBase])
def test_the_base_classes_own_names_are_never_reachable(base):
    class Thing(base):
        def work(self):
            return 1

    names = [name for name in {*dir(base), *vars(base())} if not name.startswith("_")]
    assert {"setGUID", "delegateTo", "getDaemon", "Pyro_dyncall", "objectGUID", "delegate", "lastUsed"} <= set(names)
    assert offered(Thing(), "work", *names) == (METHOD, *(UNKNOWN,) * len(names))


def test_names_of_the_base_are_hidden_although_they_are_declared():
    @gpyro.expose("work", "setGUID")
    class Thing(core.ObjBase):
        def work(self):
            return 1

    assert offered(Thing(), "work", "setGUID") == (METHOD, UNKNOWN)


def test_private_and_special_names_are_never_offered():
    class Thing:
        _data = 1
        __very = 2

        def _hidden(self):
            return "hidden"

        def __call__(self):
            return "called"

        def __len__(self):
            return 3

        def work(self):
            return 1

    obj = Thing()
    with serving(obj) as daemon:
        proxy = core.getAttrProxyForURI(uri_of(daemon, obj))
        for name in ("_data", "_Thing__very", "_hidden", "__call__", "__len__", "__class__", "__dict__", "__init__"):
            assert proxy.findattr(name) == 0
            with pytest.raises(AttributeError):
                proxy._invokePYRO(name, (), {})
        with pytest.raises(TypeError):
            len(proxy)
        assert proxy.work() == 1
        proxy._release()


# Declared lists


def test_a_marked_method_narrows_the_object_to_what_is_marked():
    class Thing:
        data = 1

        @gpyro.expose
        def shown(self):
            return 1

        def other(self):
            return 2

        @gpyro.expose
        @property
        def value(self):
            return 3

        @gpyro.expose
        @staticmethod
        def static():
            return 4

        @classmethod
        @gpyro.expose
        def of_class(cls):
            return 5

        @gpyro.expose
        @functools.cached_property
        def cached(self):
            return 6

        @property
        @gpyro.expose
        def inner(self):
            return 7

    obj = Thing()
    obj.mine = 8
    names = ("shown", "static", "of_class", "value", "cached", "inner", "other", "data", "mine")
    assert offered(obj, *names) == (METHOD,) * 3 + (ATTRIBUTE,) * 3 + (UNKNOWN,) * 3


def test_expose_on_a_class_declares_its_own_public_members_only():
    class Base:
        def of_base(self):
            return 1

    @gpyro.expose
    class Thing(Base):
        data = 1

        def own(self):
            return 2

        def _hidden(self):
            return 3

    assert offered(Thing(), "own", "data", "of_base") == (METHOD, ATTRIBUTE, UNKNOWN)
    assert offered(Base(), "of_base") == (METHOD,)

    @gpyro.expose
    class Empty(Base):
        def __init__(self):
            self.mine = 1

    assert offered(Empty(), "of_base", "mine") == (UNKNOWN, UNKNOWN)


def test_expose_with_names_declares_methods_and_data():
    @gpyro.expose("work", "count")
    class Thing:
        def __init__(self):
            self.count, self.secret = 1, 2

        def work(self):
            return 1

        def other(self):
            return 2

    assert offered(Thing(), "work", "count", "secret", "other") == (METHOD, ATTRIBUTE, UNKNOWN, UNKNOWN)


def test_what_is_declared_stays_declared_in_derived_classes():
    class Base:
        @gpyro.expose
        def first(self):
            return 1

        def second(self):
            return 2

    class Derived(Base):
        def first(self):
            return "new"

        def third(self):
            return 3

    class Further(Derived):
        @gpyro.expose
        def second(self):
            return 22

    assert offered(Derived(), "first", "second", "third") == (METHOD, UNKNOWN, UNKNOWN)
    assert offered(Further(), "first", "second", "third") == (METHOD, METHOD, UNKNOWN)


def test_misuse_of_expose_raises_at_once():
    with pytest.raises(ValueError, match="leading underscore"):
        gpyro.expose("_hidden")(type("Thing", (), {}))
    with pytest.raises(ValueError, match="leading underscore"):
        gpyro.expose("not a name")(type("Thing", (), {}))
    with pytest.raises(ValueError, match="_hidden"):

        @gpyro.expose
        def _hidden(self):
            pass

    for nonsense in (5, None, object()):
        with pytest.raises(TypeError):
            gpyro.expose(nonsense)
    with pytest.raises(TypeError):
        gpyro.expose()
    with pytest.raises(TypeError):
        gpyro.expose("name")(lambda: None)
    with pytest.raises(TypeError):
        gpyro.oneway(5)


# Delegates


def test_calls_and_attributes_of_a_delegate_are_its_own():
    obj = core.ObjBase()
    delegate = Everything()
    obj.delegateTo(delegate)
    assert offered(obj, "plain", "own_data", "delegateTo", "objectGUID") == (METHOD, ATTRIBUTE, UNKNOWN, UNKNOWN)


class Answering:
    """Answers to every name; only the declared ones may come from outside."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        self.__dict__.setdefault("asked", []).append(name)
        return lambda *arguments: (name, *arguments)

    def real(self):
        return "real"


@gpyro.expose("virtual", "real")
class Declared(Answering):
    pass


@pytest.mark.parametrize("delegated", [True, False])
def test_an_object_with_getattr_offers_its_declared_list_and_nothing_else(delegated):
    def made(target):
        if not delegated:
            return target
        obj = core.ObjBase()
        obj.delegateTo(target)
        return obj

    undeclared = Answering()
    assert offered(made(undeclared), "real", "virtual", "asked") == (UNKNOWN,) * 3
    assert undeclared.asked == []
    declared = Declared()
    assert offered(made(declared), "real", "virtual", "other", "asked") == (METHOD, METHOD, UNKNOWN, UNKNOWN)
    obj = made(Declared())
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.virtual(1) == ("virtual", 1)
        proxy._release()


def test_a_list_made_by_hand_gives_no_underscore_name_away():
    class Thing:
        __gpyro_exposed__ = frozenset({"_secret", "open"})

        def __getattr__(self, name):
            return lambda: name

        def _secret(self):
            return "secret"

    assert set(Members(Thing).methods) == {"open"}


# Random class trees: exactly the declared set


KINDS = [
    lambda: lambda self: 1,
    lambda: staticmethod(lambda: 1),
    lambda: classmethod(lambda cls: 1),
    lambda: functools.partialmethod(lambda self, value: value, 1),
]
NAMES = [f"{mark}name{number}" for number in range(6) for mark in ("", "_")]


def marked(member):
    """As ``@expose`` would do it, whatever the name that the member stands under."""
    function = getattr(member, "func", None) or getattr(member, "__func__", member)
    function.__name__ = "shown"
    return gpyro.expose(member)


def test_random_class_trees_offer_exactly_what_is_declared():
    for seed in range(500):
        check_random_tree(seed)


def check_random_tree(seed):
    choose = random.Random(seed)
    declared, methods, data, bases = set(), set(), set(), (core.ObjBase,) if seed % 2 else ()
    narrowed = False
    for level in range(choose.randint(1, 4)):
        body = {}
        for name in choose.sample(NAMES, choose.randint(0, 6)):
            if choose.random() < 0.3:
                body[name] = choose.randint(0, 9)
                methods.discard(name)
                data.add(name)
            else:
                body[name] = choose.choice(KINDS)()
                data.discard(name)
                methods.add(name)
                if choose.random() < 0.2:
                    body[name] = marked(body[name])
                    declared.add(name)
                    narrowed |= not name.startswith("_")
        cls = type(f"Level{level}", bases, body)
        how = choose.random()
        if how < 0.15:
            cls = gpyro.expose(cls)
            declared |= set(body)
            narrowed = True
        elif how < 0.3:
            names = [name for name in choose.sample(NAMES, 3) if not name.startswith("_")]
            if names:
                cls = gpyro.expose(*names)(cls)
            declared |= set(names)
            narrowed |= bool(names)
        bases = (cls,)
    public = {name for name in methods | data if not name.startswith("_")}
    if narrowed:
        public &= declared
    members = Members(cls, HIDDEN if seed % 2 else frozenset())
    assert set(members.methods) == methods & public, seed
    assert members.attributes == data & public, seed
