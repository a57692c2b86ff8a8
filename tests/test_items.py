from __future__ import annotations

import re

import pytest

from gpyro.item_table import NEW, SAME, SUBJECTS
from gpyro.items import DROPPED, ITEMS, as_markdown, as_text, near

# All items of Pyro 3.16.
PYRO_3 = [
    *("PYRO_CONFIG_FILE", "PYRO_STORAGE", "PYRO_HOST", "PYRO_PUBLISHHOST", "PYRO_PORT", "PYRO_PORT_RANGE"),
    *("PYRO_NS_HOSTNAME", "PYRO_NS_PORT", "PYRO_NS_BC_ADDR", "PYRO_NS_BC_PORT", "PYRO_NS_URIFILE"),
    *("PYRO_NS2_HOSTNAME", "PYRO_NS2_PORT", "PYRO_NS2_BC_ADDR", "PYRO_NS2_BC_PORT", "PYRO_NS_DEFAULTGROUP"),
    *("PYRO_BC_RETRIES", "PYRO_BC_TIMEOUT", "PYRO_PICKLE_FORMAT", "PYRO_XML_PICKLE", "PYRO_GNOSIS_PARANOIA"),
    *("PYRO_TRACELEVEL", "PYRO_USER_TRACELEVEL", "PYRO_LOGFILE", "PYRO_USER_LOGFILE", "PYRO_STDLOGGING"),
    *("PYRO_STDLOGGING_CFGFILE", "PYRO_MAXCONNECTIONS", "PYRO_TCP_LISTEN_BACKLOG", "PYRO_BROKEN_MSGWAITALL"),
    *("PYRO_MULTITHREADED", "PYRO_COMPRESSION", "PYRO_CHECKSUM", "PYRO_SOCK_KEEPALIVE", "PYRO_MOBILE_CODE"),
    *("PYRO_DNS_URI", "PYRO_ES_QUEUESIZE", "PYRO_ES_BLOCKQUEUE", "PYRO_DETAILED_TRACEBACK", "PYRO_ONEWAY_THREADED"),
    *("PYROSSL_CERTDIR", "PYROSSL_CA_CERT", "PYROSSL_CERT", "PYROSSL_KEY", "PYROSSL_POSTCONNCHECK"),
]


@pytest.mark.parametrize("name", PYRO_3)
def test_every_item_of_pyro_3_is_there_or_dropped(name: str) -> None:
    assert (name in ITEMS) != (name in DROPPED)
    if name in ITEMS:
        assert ITEMS[name].pyro3 != NEW
    else:
        assert DROPPED[name]


def test_what_is_new_is_marked_so() -> None:
    assert {name for name, item in ITEMS.items() if item.pyro3 == NEW} == set(ITEMS) - set(PYRO_3)
    assert set(DROPPED) < set(PYRO_3)
    assert ITEMS["PYRO_PORT"].pyro3 == SAME
    assert ITEMS["PYRO_MAXCONNECTIONS"].pyro3.startswith("200")


def test_no_item_stands_in_two_subjects() -> None:
    assert sum(len(subject.items) for subject in SUBJECTS) == len(ITEMS)


def test_the_manuals_tables_have_a_row_for_each_item() -> None:
    text = as_markdown()
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [*ITEMS, *DROPPED]
    assert "| `PYRO_TCP_LISTEN_BACKLOG` | `1024` | 200 | connections the system keeps" in text
    assert "| `PYRO_MAX_DEPTH` | `100` | new | " in text
    assert "| `PYRO_PUBLISHHOST` |  |  | host that stands in URIs" in text
    assert "| `PYRO_MULTITHREADED` | `1` |  | calls of one daemon overlap" in text
    before, _, after = text.partition("### Name server")
    assert "is to come" not in before
    assert "have no effect yet: encryption is to come." in after
    assert {row.count("|") for row in text.split("\n") if row.startswith("| `")} == {5, 3}
    assert "*(live)*" in next(line for line in text.split("\n") if "PYRO_NS_DEFAULTGROUP" in line)
    assert "*(environment only)*" in next(line for line in text.split("\n") if "PYRO_CONFIG_FILE" in line)


def test_values_as_text() -> None:
    assert [as_text(value) for value in (None, True, False, 5, 0.5, "x", "")] == ["", "1", "0", "5", "0.5", "x", ""]


def test_near_names() -> None:
    assert near("PYRO_PROT").startswith("; near to it are PYRO_PORT, ")
    assert near("GPYRO_PROT", "G").startswith("; near to it are GPYRO_PORT, ")
    assert near("pyro_traceleve1").startswith("; near to it are PYRO_TRACELEVEL")
    assert near("zzz") == ""
