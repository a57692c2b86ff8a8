"""Values that change while they are encoded: a message or an error, and never a crash.

In processes of their own, since what goes wrong here ends the process.
"""

from __future__ import annotations

import pytest

from tests.support import run_python

BY_ITS_HOOK = """
    import sys, gpyro
    from gpyro.errors import SerializationError
    from gpyro.values import serializer_by_name

    @gpyro.register_class(name="x.Key")
    class Key:
        def __getstate__(self):
            if kind == "cleared":
                value.clear()
            elif kind == "grown":
                value.update({str(n): [n] for n in range(1000)}) if type(value) is dict else value.extend([[5]] * 1000)
            elif kind == "more":
                value.update(other=Key2()) if type(value) is dict else value.append(Key2())
            junk.append([bytes(100)] * 1000)
            return {}

    @gpyro.register_class(name="x.Key2")
    class Key2:
        pass

    codec = serializer_by_name("msgpack")
    kind, junk, outcomes = sys.argv[2], [], set()
    for _ in range(200):
        if sys.argv[1] == "list":
            value = [Key()] + [[n] for n in range(50)]
        else:
            value = {"k": Key(), **{str(n): [n] for n in range(50)}}
        try:
            codec.decode(codec.encode(value))
            outcomes.add("a value")
        except SerializationError:
            outcomes.add("an error")
    print("over", *outcomes)
    """

BY_A_THREAD = """
    import sys, threading, gpyro
    from gpyro.errors import SerializationError
    from gpyro.values import serializer_by_name
    sys.setswitchinterval(1e-6)

    @gpyro.register_class(name="x.Key")
    class Key:
        def __getstate__(self):
            return {"a": sum(range(30))}

    value, stop = [], False
    def change():
        while not stop:
            value.extend([1.5, "abc" * 5] for _ in range(50))
            value.clear()
            value.append(Key())
            value.append(Key())
    thread = threading.Thread(target=change)
    thread.start()
    codec = serializer_by_name("msgpack")
    for _ in range(3000):
        try:
            codec.decode(codec.encode(value))
        except SerializationError:
            pass
    stop = True
    thread.join()
    print("over")
    """


@pytest.mark.parametrize("how", ["cleared", "grown", "more"])
@pytest.mark.parametrize("container", ["list", "dict"])
def test_a_container_that_a_hook_changes(container: str, how: str) -> None:
    code, out, err = run_python(BY_ITS_HOOK, container, how)
    assert (code, err) == (0, "")
    assert out.startswith("over a")


def test_a_list_that_another_thread_changes() -> None:
    code, out, err = run_python(BY_A_THREAD)
    assert (code, out, err) == (0, "over\n", "")
