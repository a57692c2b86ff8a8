from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
import threading
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro import settings
from gpyro.errors import ConfigurationError
from gpyro.item_kinds import Seconds, Whole
from gpyro.items import ITEMS, Names
from gpyro.settings import Config, Settings


def fresh(**environ: str) -> Config:
    return Config(environ)


# ---- the table


def test_every_item_has_a_typed_attribute_and_the_other_way_round() -> None:
    assert list(typing.get_type_hints(Names)) == list(ITEMS)


@pytest.mark.parametrize("name", list(ITEMS))
def test_defaults_fit_their_kind_and_type(name: str) -> None:
    item = ITEMS[name]
    checked = item.kind.check(item.default)
    assert checked == item.default
    assert type(checked) is type(item.default)
    assert isinstance(checked, typing.get_type_hints(Names)[name])
    assert item.meaning
    assert item.name == name


def test_the_defaults_that_others_build_on() -> None:
    settings = fresh().snapshot()
    assert os.getcwd() == settings.PYRO_STORAGE
    assert os.path.join(os.getcwd(), "Pyro_log") == settings.PYRO_LOGFILE
    assert settings.PYRO_TRACELEVEL == settings.PYRO_USER_TRACELEVEL == 0
    assert settings.PYRO_NS_PORT == settings.PYRO_NS_BC_PORT == 9090
    assert settings.PYRO_NS_DEFAULTGROUP == ":Default"
    assert settings.PYRO_MAX_CONTAINERS == 250_000
    assert settings.PYRO_MAX_DEPTH == 100
    assert settings.PYRO_HOST == ""
    assert settings.PYRO_PUBLISHHOST is None
    assert settings.PYRO_PORT == 7766
    assert settings.PYRO_PORT_RANGE == 100
    assert settings.PYRO_MAXCONNECTIONS == 10_000
    assert settings.PYRO_SERIALIZER == "msgpack"
    assert settings.serializers() == ("msgpack",)
    assert settings.PYRO_ALLOW_OPEN is False
    assert settings.PYRO_MAX_MESSAGE == 16 * 1024 * 1024
    assert settings.PYRO_HANDSHAKE_TIMEOUT == 5.0


# ---- where a value comes from


def test_priority_of_the_sources() -> None:
    assert fresh().PYRO_PORT == 7766
    assert fresh(PYRO_PORT="1").PYRO_PORT == 1
    assert fresh(PYRO_PORT="1", GPYRO_PORT="2").PYRO_PORT == 2
    config = fresh(PYRO_PORT="1", GPYRO_PORT="2")
    config.PYRO_PORT = 3
    assert config.PYRO_PORT == 3
    assert config.snapshot().PYRO_PORT == 3


def test_an_empty_variable_counts_as_not_set() -> None:
    assert fresh(PYRO_PORT="1", GPYRO_PORT="").PYRO_PORT == 1
    assert fresh(PYRO_PORT="  ").PYRO_PORT == 7766


def test_white_space_around_a_value_is_dropped() -> None:
    assert fresh(PYRO_HOST=" localhost\n").PYRO_HOST == "localhost"


def test_the_environment_is_read_when_first_needed() -> None:
    environ: dict[str, str] = {}
    config = Config(environ)
    environ["PYRO_PORT"] = "1"
    assert config.PYRO_PORT == 1
    environ["PYRO_PORT"] = "2"
    assert config.PYRO_PORT == 1


def test_the_global_one_reads_the_processs_environment() -> None:
    program = "import gpyro.settings as c; print(c.config.PYRO_PORT, c.config.PYRO_HOST)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYRO_PORT": "1", "GPYRO_HOST": "::1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "::1"]


def put_file(directory: Path, text: str, name: str = "Pyro.conf") -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


def test_the_file_is_the_least_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_file(tmp_path, "PYRO_PORT=5\nPYRO_HOST=localhost\n", "my.conf")
    assert fresh(PYRO_CONFIG_FILE=path).PYRO_PORT == 5
    assert fresh(GPYRO_CONFIG_FILE=path, PYRO_CONFIG_FILE="/nonesuch").PYRO_PORT == 5
    assert fresh(PYRO_CONFIG_FILE=path, PYRO_PORT="4").PYRO_PORT == 4
    assert fresh(PYRO_CONFIG_FILE=path, PYRO_PORT="4", GPYRO_PORT="3").PYRO_PORT == 3
    config = fresh(PYRO_CONFIG_FILE=path, PYRO_PORT="4", GPYRO_PORT="3")
    config.PYRO_PORT = 2
    assert (config.PYRO_PORT, config.PYRO_HOST) == (2, "localhost")


def test_where_values_come_from_can_be_asked_for(tmp_path: Path) -> None:
    path = put_file(tmp_path, "\nPYRO_HOST=localhost\nPYRO_PORT=5\nPYRO_PORT_RANGE=7\n")
    config = fresh(PYRO_CONFIG_FILE=path, PYRO_PORT="4", GPYRO_MAX_CALLS="5")
    config.PYRO_PORT_RANGE = 8
    assert config.origins() == {
        "PYRO_CONFIG_FILE": "environment variable PYRO_CONFIG_FILE",
        "PYRO_HOST": f"{path}, line 2",
        "PYRO_PORT": "environment variable PYRO_PORT",
        "PYRO_MAX_CALLS": "environment variable GPYRO_MAX_CALLS",
        "PYRO_PORT_RANGE": "code",
    }
    assert fresh().origins() == {}


# ---- files and directories


def test_names_of_files_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    config = fresh(PYRO_STORAGE="there", PYRO_LOGFILE="my.log", PYRO_USER_LOGFILE="$CURDIR/user.log")
    settings = config.snapshot()
    assert f"{here}/there" == settings.PYRO_STORAGE
    assert f"{here}/there/my.log" == settings.PYRO_LOGFILE
    assert f"{here}/user.log" == settings.PYRO_USER_LOGFILE
    assert f"{here}/there/Pyro_NS_URI" == settings.PYRO_NS_URIFILE
    assert f"{here}/there/logging.cfg" == settings.PYRO_STDLOGGING_CFGFILE
    assert f"{here}/there/certs" == settings.PYROSSL_CERTDIR
    assert f"{here}/there/certs/ca.pem" == settings.PYROSSL_CA_CERT
    assert settings.PYROSSL_KEY is None
    config.PYROSSL_CERTDIR = Path("/etc/certs")  # type: ignore[assignment]
    config.PYROSSL_KEY = "$STORAGE/../key.pem"
    assert config.PYROSSL_CERT == "/etc/certs/host.pem"
    assert f"{here}/key.pem" == config.PYROSSL_KEY
    config.PYRO_STORAGE = "/var/lib/me"
    assert config.PYRO_LOGFILE == "/var/lib/me/my.log"
    assert config.PYRO_NS_URIFILE == "/var/lib/me/Pyro_NS_URI"
    assert f"{here}/user.log" == config.PYRO_USER_LOGFILE


def test_a_program_that_goes_elsewhere_keeps_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = fresh(PYRO_STORAGE="there")
    assert f"{tmp_path}/there/Pyro_log" == config.PYRO_LOGFILE
    monkeypatch.chdir("/")
    config.PYRO_PORT = 1
    config.PYRO_USER_LOGFILE = "$CURDIR/x"
    assert f"{tmp_path}/there/Pyro_log" == config.PYRO_LOGFILE
    assert f"{tmp_path}/x" == config.PYRO_USER_LOGFILE
    copied = pickle.loads(pickle.dumps(config.snapshot()))
    assert f"{tmp_path}/there/Pyro_log" == copied.PYRO_LOGFILE


def test_a_current_directory_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert fresh().PYRO_PORT == 7766
    assert fresh(PYRO_STORAGE="/var/log").PYRO_LOGFILE == "/var/log/Pyro_log"
    assert fresh().PYRO_STORAGE == "."


def test_the_configuration_file_is_read_as_what_was_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fresh().PYRO_CONFIG_FILE == ""
    put_file(tmp_path, "PYRO_PORT=5")
    put_file(tmp_path, "PYRO_PORT=6", "other.conf")
    assert (f"{tmp_path}/Pyro.conf", 5) == (fresh().PYRO_CONFIG_FILE, fresh().PYRO_PORT)
    other = fresh(PYRO_CONFIG_FILE="other.conf")
    assert (f"{tmp_path}/other.conf", 6) == (other.PYRO_CONFIG_FILE, other.PYRO_PORT)
    assert fresh(PYRO_CONFIG_FILE="/dev/null").PYRO_PORT == 7766
    with pytest.raises(ConfigurationError, match="PYRO_CONFIG_FILE can be set by the environment only"):
        other.PYRO_CONFIG_FILE = "x"


# ---- dropped items


def test_a_dropped_item_is_warned_of_once_wherever_it_is_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put_file(tmp_path, "PYRO_CHECKSUM=1\nPYRO_DNS_URI=\n")
    config: Any = fresh(PYRO_CONFIG_FILE=path, PYRO_MOBILE_CODE="1", GPYRO_XML_PICKLE="gnosis", PYRO_NS2_PORT=" ")
    for _ in range(3):
        assert config.PYRO_PORT == 7766
        config.PYRO_PICKLE_FORMAT = 2
        config.PYRO_CHECKSUM = 1
    said = caplog.messages
    assert sorted(text.split(": ")[0] for text in said) == [
        f"{path}, line 1",
        "environment variable GPYRO_XML_PICKLE",
        "environment variable PYRO_MOBILE_CODE",
        "set in code",
    ]
    assert any(
        text.endswith("PYRO_MOBILE_CODE is dropped: code never travels; install the modules on both sides")
        for text in said
    )
    assert {(record.name, record.levelname) for record in caplog.records} == {("gpyro", "WARNING")}
    with pytest.raises(AttributeError, match="PYRO_CHECKSUM is dropped: the network's"):
        _ = config.PYRO_CHECKSUM


def test_a_warning_may_ask_for_items_and_switch(caplog: pytest.LogCaptureFixture) -> None:
    """It is said when nothing is locked."""
    config: Any = fresh(PYRO_MOBILE_CODE="1")
    asked = []
    config.warn_through(lambda text: asked.append((config.PYRO_PORT, text)))
    config.PYRO_PORT = 1
    assert [port for port, _ in asked] == [7766]


# ---- items that take effect at once


def test_live_items_make_no_difference_between_settings() -> None:
    config = fresh()
    before = config.snapshot()
    config.PYRO_TRACELEVEL = 3
    config.PYRO_USER_TRACELEVEL = 3
    config.PYRO_LOGFILE = config.PYRO_USER_LOGFILE = "/x"
    config.PYRO_NS_DEFAULTGROUP = ":Mine"
    after = config.snapshot()
    assert after is not before
    assert after == before
    assert hash(after) == hash(before)
    assert after.PYRO_TRACELEVEL == 3
    config.PYRO_PORT = 1
    assert config.snapshot() != before
    assert [name for name, item in ITEMS.items() if item.live] == [
        *("PYRO_TRACELEVEL", "PYRO_USER_TRACELEVEL", "PYRO_LOGFILE", "PYRO_USER_LOGFILE", "PYRO_NS_DEFAULTGROUP"),
    ]


# ---- unknown items


def test_an_unknown_pyro_variable_is_ignored() -> None:
    assert fresh(PYRO_NONESUCH="x", PYRO_LOGLEVEL="DEBUG").PYRO_PORT == 7766


def test_an_unknown_gpyro_variable_is_an_error_that_names_near_ones() -> None:
    config = fresh(GPYRO_PROT="1")
    with pytest.raises(ConfigurationError, match=r"variable GPYRO_PROT is no configuration item; .*GPYRO_PORT"):
        config.snapshot()
    with pytest.raises(ConfigurationError, match="GPYRO_PROT"):
        _ = config.PYRO_HOST
    with pytest.raises(ConfigurationError, match="GPYRO_PROT"):
        config.PYRO_HOST = "x"
    with pytest.raises(ConfigurationError, match=r"variable GPYROSSL_CERTS is no .*GPYROSSL_CERT"):
        fresh(GPYROSSL_CERTS="x").snapshot()
    assert fresh(GPYROTECHNICS="x").PYRO_PORT == 7766


def test_an_unknown_item_set_in_code_is_an_error_that_names_near_ones() -> None:
    config: Any = fresh()
    with pytest.raises(ConfigurationError, match=r"no configuration item PYRO_PROT; near to it are PYRO_PORT"):
        config.PYRO_PROT = 1
    with pytest.raises(ConfigurationError, match=r"no configuration item pyro_port; near to it are PYRO_PORT"):
        config.pyro_port = 1
    with pytest.raises(ConfigurationError) as caught:
        config.zzz = 1
    assert str(caught.value) == "there is no configuration item zzz"


def test_reading_an_unknown_item_is_an_attribute_error() -> None:
    config: Any = fresh()
    with pytest.raises(AttributeError, match="PYRO_PROT; near to it are PYRO_PORT"):
        _ = config.PYRO_PROT
    assert not hasattr(config, "PYRO_NONESUCH")


def test_an_item_cannot_be_deleted() -> None:
    config = fresh()
    with pytest.raises(ConfigurationError, match="not deleted"):
        del config.PYRO_PORT


# ---- values that do not fit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYRO_PORT", -1),
        ("PYRO_PORT", 65536),
        ("PYRO_PORT", "7766"),
        ("PYRO_PORT", 7766.0),
        ("PYRO_PORT", True),
        ("PYRO_PORT", None),
        ("PYRO_PORT_RANGE", 0),
        ("PYRO_MAXCONNECTIONS", 0),
        ("PYRO_MAX_BYTES", 4095),
        ("PYRO_MAX_MESSAGE", 1 << 32),
        pytest.param("PYRO_MAX_CALLS", 10**5000, id="huge"),
        ("PYRO_HANDSHAKE_TIMEOUT", 0),
        ("PYRO_HANDSHAKE_TIMEOUT", -1.0),
        ("PYRO_HANDSHAKE_TIMEOUT", math.nan),
        ("PYRO_HANDSHAKE_TIMEOUT", math.inf),
        ("PYRO_HANDSHAKE_TIMEOUT", True),
        ("PYRO_HANDSHAKE_TIMEOUT", "5"),
        ("PYRO_MULTITHREADED", 2),
        ("PYRO_MULTITHREADED", "1"),
        ("PYRO_MULTITHREADED", None),
        ("PYRO_SERIALIZER", ""),
        ("PYRO_SERIALIZER", "serpent"),
        ("PYRO_SERIALIZER", "msgpack,msgpack"),
        ("PYRO_SERIALIZER", ["msgpack"]),
        ("PYRO_HOST", None),
        ("PYRO_HOST", "a b"),
        ("PYRO_HOST", "[::1]"),
        ("PYRO_HOST", 5),
        ("PYRO_TRACELEVEL", 4),
        ("PYRO_BC_RETRIES", 1.5),
        ("PYRO_BC_TIMEOUT", 0),
        ("PYRO_STORAGE", ""),
        ("PYRO_STORAGE", None),
        ("PYRO_STORAGE", "$STORAGE/x"),
        ("PYRO_LOGFILE", b"x"),
        ("PYRO_LOGFILE", "$HOME/x"),
        ("PYRO_LOGFILE", "~/x"),
        ("PYRO_LOGFILE", "a\0b"),
        ("PYRO_LOGFILE", "a\udfffb"),
        ("PYRO_NS_BC_ADDR", "./u:/x"),
        ("PYRO_NS_DEFAULTGROUP", "Default"),
        ("PYRO_NS_DEFAULTGROUP", ":a..b"),
        ("PYRO_PUBLISHHOST", "host:5"),
        ("PYRO_PUBLISHHOST", 0),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name: str, value: object) -> None:
    config = fresh()
    with pytest.raises(ConfigurationError) as caught:
        setattr(config, name, value)
    assert f"expected {ITEMS[name].kind.expected}" in str(caught.value)
    assert str(caught.value).startswith(f"{name} = ")
    assert len(str(caught.value)) < 400
    assert getattr(config, name) == getattr(fresh(), name)


def test_the_error_says_item_value_and_what_was_expected() -> None:
    config = fresh()
    with pytest.raises(ConfigurationError) as caught:
        config.PYRO_PORT = 70_000
    assert str(caught.value) == "PYRO_PORT = 70000: expected a whole number from 0 to 65535"
    with pytest.raises(ConfigurationError) as caught:
        fresh(GPYRO_PORT="x").snapshot()
    assert str(caught.value) == "environment variable GPYRO_PORT='x': expected a whole number from 0 to 65535"
    with pytest.raises(ConfigurationError) as caught:
        config.PYRO_HOST = "a b"
    assert "invalid address 'a b': ' ' in the host" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PYRO_PORT", "x"),
        ("PYRO_PORT", "70000"),
        ("PYRO_PORT", "1.5"),
        ("PYRO_PORT", "9" * 5000),
        ("PYRO_CHANNEL_LINGER", "ten"),
        ("PYRO_CHANNEL_LINGER", "nan"),
        ("PYRO_MULTITHREADED", "true"),
        ("PYRO_SERIALIZER", "serpent"),
        ("PYRO_HOST", "a b"),
    ],
)
def test_an_environment_variable_that_does_not_fit_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fresh(**{"G" + name: text}).snapshot()
    assert str(caught.value).startswith(f"environment variable G{name}='{text[:20]}")
    assert "expected " in str(caught.value)
    assert "another program" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=f"meant for another program, set G{name}, which wins"):
        fresh(**{name: text}).snapshot()


def test_the_gpyro_variable_is_the_way_out_of_a_pyro_one_that_does_not_fit() -> None:
    assert fresh(PYRO_SERIALIZER="serpent", GPYRO_SERIALIZER="json").PYRO_SERIALIZER == "json"


def test_an_object_whose_repr_fails_is_still_refused_properly() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(ConfigurationError, match="an object of type Bad"):
        fresh().PYRO_PORT = Bad()  # type: ignore[assignment]


# ---- values that fit


def test_values_take_their_proper_type() -> None:
    config: Any = fresh()
    config.PYRO_MULTITHREADED = 0
    assert config.PYRO_MULTITHREADED is False
    config.PYRO_MULTITHREADED = True
    assert config.PYRO_MULTITHREADED is True
    config.PYRO_CHANNEL_LINGER = 3
    assert type(config.PYRO_CHANNEL_LINGER) is float
    config.PYRO_SERIALIZER = "pickle, msgpack"
    assert config.PYRO_SERIALIZER == "pickle,msgpack"
    assert config.snapshot().serializers() == ("pickle", "msgpack")
    config.PYRO_PUBLISHHOST = "fe80::1%eth0"
    assert config.PYRO_PUBLISHHOST == "fe80::1%eth0"
    config.PYRO_PUBLISHHOST = ""
    assert config.PYRO_PUBLISHHOST is None
    config.PYRO_HOST = "./u:/run/x.sock"
    config.PYRO_HOST = ""
    assert config.PYRO_HOST == ""


def test_values_from_the_environment() -> None:
    config = fresh(PYRO_MULTITHREADED="0", PYRO_CHANNEL_LINGER="2.5", PYRO_PORT="0", PYRO_SERIALIZER="json,pickle")
    assert config.PYRO_MULTITHREADED is False
    assert config.PYRO_CHANNEL_LINGER == 2.5
    assert config.PYRO_PORT == 0
    assert config.PYRO_SERIALIZER == "json,pickle"


@given(st.integers(), st.integers(-1000, 1000), st.integers(0, 1000))
def test_whole_numbers_are_taken_within_their_bounds(value: int, low: int, span: int) -> None:
    kind = Whole(low, low + span)
    try:
        assert kind.check(value) == value
        taken = True
    except ValueError:
        taken = False
    assert taken == (low <= value <= low + span)


@pytest.mark.parametrize("name", [name for name, item in ITEMS.items() if isinstance(item.kind, Whole | Seconds)])
def test_both_bounds_belong_to_the_range(name: str) -> None:
    kind = typing.cast("Whole | Seconds", ITEMS[name].kind)
    config = fresh()
    for value in (kind.low, kind.high):
        setattr(config, name, value)
        assert getattr(config, name) == value
    for value in (0 if kind.endless and kind.low > 0 else kind.low - 1, kind.high + 1):
        if kind.endless and value < 0:
            continue
        with pytest.raises(ConfigurationError, match=f"expected {kind.expected}"):
            setattr(config, name, value)


def test_only_those_items_may_be_zero_where_zero_means_something() -> None:
    zero = [name for name, item in ITEMS.items() if isinstance(item.kind, Whole | Seconds) and item.kind.low == 0]
    assert zero == [
        *(
            "PYRO_PORT",
            "PYRO_MAX_BLOCKING",
            "PYRO_CHANNEL_LINGER",
            "PYRO_DRAIN_TIMEOUT",
            "PYRO_DNS_CACHE",
            "PYRO_MAX_BUFFERS",
            "PYRO_TRACELEVEL",
        ),
        *("PYRO_USER_TRACELEVEL", "PYRO_NS_PORT", "PYRO_BC_RETRIES", "PYRO_ES_QUEUESIZE", "PYRO_ES_QUEUEBYTES"),
    ]


@given(st.sampled_from(list(ITEMS)), st.text(st.characters(exclude_characters="\0")))
def test_any_text_in_the_environment_is_a_value_or_a_configuration_error(name: str, text: str) -> None:
    try:
        value = getattr(fresh(**{name: text}), name)
    except ConfigurationError:
        return
    assert ITEMS[name].kind.check(value) == value


# ---- frozen values


def test_the_snapshot_is_the_same_until_something_is_set() -> None:
    config = fresh()
    before = config.snapshot()
    assert config.snapshot() is before
    config.PYRO_PORT = 1
    after = config.snapshot()
    assert after is not before
    assert config.snapshot() is after
    assert (before.PYRO_PORT, after.PYRO_PORT) == (7766, 1)


def test_settings_do_not_change() -> None:
    settings = fresh().snapshot()
    with pytest.raises(AttributeError, match=r"set gpyro\.config\.PYRO_PORT before"):
        settings.PYRO_PORT = 1
    with pytest.raises(AttributeError):
        del settings.PYRO_PORT
    with pytest.raises(AttributeError):
        settings.other = 1
    assert settings.PYRO_PORT == 7766


def test_replace_makes_a_checked_copy() -> None:
    settings = fresh().snapshot()
    other = settings.replace(PYRO_PORT=1, PYRO_CHANNEL_LINGER=0)
    assert (other.PYRO_PORT, other.PYRO_CHANNEL_LINGER, settings.PYRO_PORT) == (1, 0.0, 7766)
    with pytest.raises(ConfigurationError, match="PYRO_PORT = -1"):
        settings.replace(PYRO_PORT=-1)
    with pytest.raises(ConfigurationError, match="no configuration item PYRO_X"):
        settings.replace(PYRO_X=1)


def test_settings_compare_by_value_and_can_be_copied() -> None:
    settings = fresh(PYRO_PORT="1").snapshot()
    assert settings == fresh(GPYRO_PORT="1").snapshot()
    assert hash(settings) == hash(fresh(GPYRO_PORT="1").snapshot())
    assert settings != fresh().snapshot()
    assert settings != 5
    assert copy.deepcopy(settings) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert dict(settings)["PYRO_PORT"] == 1


def test_representations_show_what_is_not_default() -> None:
    config = fresh(PYRO_PORT="1")
    assert repr(config) == "<Config not read yet>"
    assert repr(config.snapshot()) == "<Settings PYRO_PORT=1>"
    assert repr(config) == "<Config <Settings PYRO_PORT=1>>"
    assert repr(Settings({})) == "<Settings all default>"
    assert "PYRO_PORT" in dir(config)


def test_threads_that_set_different_items_lose_nothing() -> None:
    config = fresh()
    names = [name for name, item in ITEMS.items() if isinstance(item.kind, Whole) and item.kind.high > 500]
    lows = {name: typing.cast(Whole, ITEMS[name].kind).low for name in names}
    barrier = threading.Barrier(len(names))

    def work(name: str) -> None:
        barrier.wait()
        for offset in range(1, 200):
            setattr(config, name, lows[name] + offset)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: getattr(config, name) for name in names} == {name: lows[name] + 199 for name in names}


def test_the_module_has_one_configuration_for_the_process() -> None:
    assert isinstance(settings.config, Config)
