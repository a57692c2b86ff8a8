from __future__ import annotations

import string
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gpyro import uri
from gpyro.errors import URIError
from gpyro.uri import ParsedURI

# ---- what is accepted


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("PYRO://10.0.0.150:9090/0a000096-08620ada", ("PYRO", "10.0.0.150", 9090, "0a000096-08620ada")),
        ("PYRO://localhost/x", ("PYRO", "localhost", 0, "x")),
        ("PYROSSL://host.example.org:1/x", ("PYROSSL", "host.example.org", 1, "x")),
        ("PYRO://host.:65535/x", ("PYRO", "host.", 65535, "x")),
        ("PYRO://my_host-1/x", ("PYRO", "my_host-1", 0, "x")),
        ("PYRO://123456789012/x", ("PYRO", "123456789012", 0, "x")),
        ("PYRO://h/a:b?c#d%zz@e", ("PYRO", "h", 0, "a:b?c#d%zz@e")),
        ("PYRO://[::1]:7766/id", ("PYRO", "::1", 7766, "id")),
        ("PYRO://[fe80::1%eth0.100]/id", ("PYRO", "fe80::1%eth0.100", 0, "id")),
        ("PYRO://[::ffff:1.2.3.4]:5/id", ("PYRO", "::ffff:1.2.3.4", 5, "id")),
        ("PYRO://./u:%2Ftmp%2Fa%20b%25.sock/id", ("PYRO", "./u:/tmp/a b%.sock", 0, "id")),
        ("PYRO://./u:%2ftmp%2fx/id", ("PYRO", "./u:/tmp/x", 0, "id")),
        ("PYROLOC://h:1/:group.name", ("PYROLOC", "h", 1, ":group.name")),
        ("PYROLOC://h:1/a/b/c", ("PYROLOC", "h", 1, "a/b/c")),
        ("PYROLOC://./u:%2Fx/a/b", ("PYROLOC", "./u:/x", 0, "a/b")),
        ("PYROLOCSSL://[::]/name", ("PYROLOCSSL", "::", 0, "name")),
        ("PYRONAME://:Pyro.test.echoserver", ("PYRONAME", "", 0, ":Pyro.test.echoserver")),
        ("PYRONAME://:a/b", ("PYRONAME", "", 0, ":a/b")),
        ("PYRONAME://:9090/b", ("PYRONAME", "", 0, ":9090/b")),
        ("PYRONAME://simple", ("PYRONAME", "", 0, "simple")),
        ("PYRONAME://ns.example/:a.b", ("PYRONAME", "ns.example", 0, ":a.b")),
        ("PYRONAME://[::1]:9090/:a/b", ("PYRONAME", "::1", 9090, ":a/b")),
        ("PYRONAME://./u:%2Frun%2Fns/:a", ("PYRONAME", "./u:/run/ns", 0, ":a")),
    ],
)
def test_forms(text: str, fields: tuple[str, str, int, str]) -> None:
    parsed = uri.parse(text)
    assert (parsed.protocol, parsed.address, parsed.port, parsed.objectID) == fields
    assert uri.format(parsed) == text.replace("%2f", "%2F")


def test_a_relative_pyroname_with_a_slash_is_read_as_host_and_name() -> None:
    assert uri.parse("PYRONAME://group/name") == ParsedURI("PYRONAME", "group", 0, "name")
    with pytest.raises(URIError, match="would be read as host and name"):
        uri.format(ParsedURI("PYRONAME", "", 0, "group/name"))


def test_anything_with_the_four_fields_is_formatted() -> None:
    class Like:
        protocol, address, port, objectID = "PYRO", "::1", 5, "x"

    assert uri.format(Like()) == "PYRO://[::1]:5/x"


# ---- what is refused, and in which words


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty (at character 1)"),
        ("   ", "it is empty (at character 1)"),
        (" PYRO://x/y", "white space around it (at character 1)"),
        ("PYRO://x/y\n", "white space around it (at character 11)"),
        ("PYRO://x y/z ", "a blank inside it (at character 9)"),
        ("PYRO://x y/z", "a blank inside it (at character 9)"),
        ("PYRO://x/a\tb", r"'\t' is not a printable ASCII character (at character 11)"),
        ("PYRO://\xfcber/x", r"'\xfc' is not a printable ASCII character (at character 8)"),
        ("PYRO://x/\u20ac", r"'\u20ac' is not a printable ASCII character (at character 10)"),
        ("localhost:7766/x", "it does not begin with one of PYRO://"),
        ("PYRO:/x/y", "this is the form of Pyro 4 and 5"),
        ("PYRO:obj@host:1", "this is the form of Pyro 4 and 5"),
        ("PYRONAME:obj", "this is the form of Pyro 4 and 5"),
        ("pyro://x/y", "the scheme is written in capitals, PYRO:// (at character 1)"),
        ("PyroLoc://x/y", "the scheme is written in capitals, PYROLOC://"),
        ("http://x/y", "unknown scheme 'http', known are PYRO://, PYROSSL://"),
        ("://x/y", "unknown scheme ''"),
        ("PYRONAMESSL://x", "PYRONAMESSL is not supported"),
        ("PYRO://", "no / and id after the host (at character 8)"),
        ("PYRO://host", "no / and id after the host (at character 12)"),
        ("PYROLOC://host", "no / and name after the host"),
        ("PYRO://host/", "the id is missing (at character 13)"),
        ("PYROLOC://host/", "the name is missing (at character 16)"),
        ("PYRONAME://", "the name is missing (at character 12)"),
        ("PYRONAME://host/", "the name is missing (at character 17)"),
        ("PYRO://host/a/b", "the id must not contain / (at character 14)"),
        ("PYRO:///x", "the host is empty (at character 8)"),
        ("PYRO://:5/x", "the host is empty (at character 8)"),
        ("PYRONAME:///x", "the host is empty (at character 12)"),
        ("PYRO://me@host/x", "'@' in the host (at character 10)"),
        ("PYRO://a..b/x", "'a..b' is not a host name (at character 8)"),
        ("PYRO://-a/x", "'-a' is not a host name"),
        ("PYRO://./x", "'.' is not a host name"),
        (f"PYRO://{'a' * 64}/x", "is not a host name"),
        (f"PYRO://{'a.' * 127}/x", "the host has more than 253 characters"),
        ("PYRO://1.2.3.256/x", "'1.2.3.256' is not an IPv4 address"),
        ("PYRO://127.1/x", "'127.1' is not an IPv4 address"),
        ("PYRO://010.0.0.1/x", "'010.0.0.1' is not an IPv4 address"),
        ("PYRO://host:/x", "a colon and no port (at character 13)"),
        ("PYRO://host:0/x", "the port must be a number from 1 to 65535, not '0' (at character 13)"),
        ("PYRO://host:65536/x", "the port must be a number from 1 to 65535, not '65536'"),
        ("PYRO://host:-1/x", "the port must be a number from 1 to 65535, not '-1'"),
        ("PYRO://host:1x/x", "the port must be a number from 1 to 65535, not '1x'"),
        ("PYRO://::1/x", "an IPv6 address is written in brackets, as in [::1] (at character 8)"),
        ("PYRO://[::1/x", "[ without ] (at character 8)"),
        ("PYRO://[::1]7/x", "after ] comes :port or / (at character 13)"),
        ("PYRO://[::1]:/x", "a colon and no port (at character 14)"),
        ("PYRO://[::1]:99999/x", "the port must be a number from 1 to 65535, not '99999' (at character 14)"),
        ("PYRO://[]/x", "'' is not an IPv6 address (at character 9)"),
        ("PYRO://[host]/x", "'host' is not an IPv6 address"),
        ("PYRO://[fe80::1%]/x", "'' is not the zone of an IPv6 address"),
        ("PYRO://[fe80::1%a%b]/x", "'a%b' is not the zone of an IPv6 address"),
        ("PYRO://./u:/tmp/x/id", "the path of a Unix socket is written percent-encoded, / as %2F (at character 12)"),
        ("PYRO://./u:%2Ftmp", "no / and id after the host"),
        ("PYRO://./u:tmp/id", "the path of a Unix socket must be absolute (at character 12)"),
        ("PYRO://./u:%2Ftmp%2/id", "after % come two hexadecimal digits (at character 18)"),
        ("PYRO://./u:%2Ftmp!/id", "'!' in a path is percent-encoded (at character 18)"),
        ("PYRO://./u:%2Fa%00/id", "a NUL in the path of a Unix socket"),
        ("PYRO://./u:%00abstract/id", "the path of a Unix socket must be absolute"),
        (f"PYRO://./u:%2F{'a' * 107}/id", "the path of a Unix socket has 108 bytes, more than 107"),
        (f"PYRO://host/{'a' * 2048}", "longer than 2048 characters (at character 2049)"),
    ],
)
def test_refusals_say_what_and_where(text: str, why: str) -> None:
    with pytest.raises(URIError) as caught:
        uri.parse(text)
    assert why in str(caught.value)
    assert str(caught.value).startswith("invalid URI format: ")


@pytest.mark.parametrize("value", [None, 5, b"PYRO://h/x", ["PYRO://h/x"]])
def test_what_is_no_string_is_a_uri_error(value: object) -> None:
    with pytest.raises(URIError, match=f"a URI is a string, not {type(value).__name__}"):
        uri.parse(value)  # type: ignore[arg-type]


def test_a_long_input_is_quoted_shortened() -> None:
    with pytest.raises(URIError) as caught:
        uri.parse("PYRO://" + "\N{SNOWMAN}" * 1_000_000)
    assert len(str(caught.value)) < 600
    assert "(1000007 characters)" in str(caught.value)
    with pytest.raises(URIError) as caught:
        uri.parse(f"PYRO://{'x' * 1000}/y")
    assert len(str(caught.value)) < 300


def test_the_greatest_lengths_are_accepted() -> None:
    host = "a." * 126 + "a"
    assert uri.parse(f"PYRO://{host}/x").address == host
    name = "a" * (uri.MAX_LENGTH - len("PYRO://h/"))
    assert uri.parse(f"PYRO://h/{name}").objectID == name
    with pytest.raises(URIError, match="longer than 2048"):
        uri.format(ParsedURI("PYRO", "hh", 0, name))
    assert uri.unix_address("/" + "a" * 106) == "./u:/" + "a" * 106


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (("HTTP", "h", 0, "x"), "the protocol 'HTTP' is not one of"),
        ((["PYRO"], "h", 0, "x"), "the protocol this list is not one of"),
        (("PYRO", "h", 70000, "x"), "not 70000"),
        (("PYRO", "h", -1, "x"), "not -1"),
        (("PYRO", "h", 10**5000, "x"), "not this int"),
        (("PYRO", "h", True, "x"), "not True"),
        (("PYRO", "h", "5", "x"), "not '5'"),
        (("PYRO", None, 0, "x"), "the host must be a string, not NoneType"),
        (("PYRO", "", 0, "x"), "the host is empty"),
        (("PYRO", "[::1]", 0, "x"), "stands in brackets only inside a URI"),
        (("PYRO", "[::1", 0, "x"), "stands in brackets only inside a URI"),
        (("PYRO", "h", 0, ""), "the id is missing"),
        (("PYRO", "h", 0, 5), "the id must be a string, not int"),
        (("PYRO", "h", 0, "a b"), "' ' in the id is not a printable ASCII character"),
        (("PYROLOC", "h", 0, "a\n"), r"'\\n' in the name is not a printable"),
        (("PYRO", "./u:/x", 5, "x"), "a Unix socket has no port"),
        (("PYRO", "./u:/\udcc3\udca9", 0, "x"), "surrogates that stand for valid UTF-8"),
        (("PYRO", "./u:/\ud800", 0, "x"), "a lone surrogate"),
        (("PYRONAME", "", 9090, "x"), "a port of a name server without its host"),
    ],
)
def test_fields_that_cannot_be_written(fields: tuple[str, str, int, str], why: str) -> None:
    with pytest.raises(URIError, match="this URI cannot be written: ") as caught:
        uri.format(ParsedURI(*fields))
    assert why.replace("\\\\", "\\") in str(caught.value)


# ---- Unix sockets


def test_unix_helpers() -> None:
    address = uri.unix_address(Path("/run/my app.sock"))
    assert address == "./u:/run/my app.sock"
    assert uri.is_unix(address)
    assert uri.unix_path(address) == "/run/my app.sock"
    assert not uri.is_unix("host")
    assert not uri.is_unix("::1")


@pytest.mark.parametrize("path", ["relative", "", "/a\0b", "/" + "\N{SNOWMAN}" * 36])
def test_unix_paths_that_are_refused(path: str) -> None:
    with pytest.raises(URIError):
        uri.unix_address(path)
    with pytest.raises(URIError):
        uri.unix_path("./u:" + path)


def test_unix_path_of_another_address() -> None:
    with pytest.raises(URIError, match="not the address of a Unix socket"):
        uri.unix_path("host")


@pytest.mark.parametrize("address", ["host", "1.2.3.4", "::", "fe80::1%eth0", "./u:/x"])
def test_addresses(address: str) -> None:
    uri.check_address(address)


@pytest.mark.parametrize("address", ["", "a b", "[::1]", "host:5", "./u:x", "a/b", 5])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(URIError, match="invalid address"):
        uri.check_address(address)


# ---- for all

labels = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,10}[A-Za-z0-9_])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join).filter(lambda host: not host.replace(".", "").isdigit())
ipv4 = st.ip_addresses(v=4).map(str)
ipv6 = st.ip_addresses(v=6).map(str)
zoned = st.builds("{}%{}".format, ipv6, st.from_regex(r"[A-Za-z0-9._~-]{1,15}", fullmatch=True))
paths = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("/% \udcff\udc80"),
    max_size=50,
)
unix = (
    paths.map(lambda path: "/" + path)
    .filter(lambda path: len(path.encode("utf-8", "surrogateescape")) <= uri.MAX_UNIX_PATH)
    .filter(lambda path: path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == path)
    .map(lambda path: "./u:" + path)
)
printable = string.digits + string.ascii_letters + string.punctuation
ids = st.text(printable.replace("/", ""), min_size=1, max_size=80)
names = st.text(printable, min_size=1, max_size=80)
ports = st.integers(0, 65535)


@st.composite
def parsed_uris(draw: st.DrawFn) -> ParsedURI:
    protocol = draw(st.sampled_from(list(uri.PROTOCOLS)))
    object_id = draw(names if uri.PROTOCOLS[protocol] else ids)
    if protocol == "PYRONAME" and draw(st.booleans()):
        assume(object_id.startswith(":") or "/" not in object_id)
        return ParsedURI(protocol, "", 0, object_id)
    address = draw(hosts | ipv4 | ipv6 | zoned | unix)
    return ParsedURI(protocol, address, 0 if uri.is_unix(address) else draw(ports), object_id)


@given(parsed_uris())
def test_what_is_printed_is_read_back(parsed: ParsedURI) -> None:
    text = uri.format(parsed)
    assert text.isascii()
    assert text.isprintable()
    assert uri.parse(text) == parsed


_pieces = [f"{name}://" for name in uri.PROTOCOLS] + ["./u:", "%2F", "[", "]", ":", "/", "::1", "a", "7766", "%", "."]


@given(st.text(max_size=60) | st.lists(st.sampled_from(_pieces) | st.characters(), max_size=8).map("".join))
@example("PYRO://./u:/")
@example("PYRO://[")
@example("PYRO://h:\N{ARABIC-INDIC DIGIT ONE}/x")
def test_any_text_is_a_uri_or_a_uri_error(text: str) -> None:
    try:
        parsed = uri.parse(text)
    except URIError:
        return
    # What was accepted can be printed, and means the same again.
    assert uri.parse(uri.format(parsed)) == parsed


@given(st.builds(ParsedURI, st.text() | st.sampled_from(list(uri.PROTOCOLS)), st.text(), st.integers(), st.text()))
def test_any_fields_are_printed_to_be_read_back_or_refused(parsed: ParsedURI) -> None:
    try:
        text = uri.format(parsed)
    except URIError:
        return
    assert uri.parse(text) == parsed


@given(ipv6)
def test_every_ipv6_address_is_kept_as_given(address: str) -> None:
    written = IPv6Address(address).exploded.upper()
    assert uri.parse(f"PYRO://[{written}]/x").address == written
