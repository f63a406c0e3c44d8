"""Parameters to environ: names, repeats, fallbacks."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyfpm.cgi import EnvironBuilder, PathInfo
from pyfpm.errors import BadRequest, ProtocolError
from pyfpm.fastcgi import Limits, decode_pairs, encode_pairs

GET = (b"REQUEST_METHOD", b"GET")


def build(*pairs, **options):
    """The environ by both ways, from pairs and from their stream, which must agree."""
    ways = []
    for way in (
        lambda b: b.build([GET, *pairs]),
        lambda b: b.build_from(encode_pairs([GET, *pairs])),
    ):
        try:
            ways.append(way(EnvironBuilder(**options)))
        except BadRequest as error:
            ways.append(error)
    assert str(ways[0]) == str(ways[1])
    if isinstance(ways[0], BadRequest):
        raise ways[0]
    return ways[1]


def refusal(*pairs, **options):
    with pytest.raises(BadRequest) as caught:
        build(*pairs, **options)
    return caught.value


def test_request_with_nothing_but_a_method_has_all_required_keys():
    """PEP 3333 requires these of every environ."""
    assert build() == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "wsgi.url_scheme": "http",
    }


@pytest.mark.parametrize("pairs", [[], [(b"REQUEST_METHOD", b"")]])
def test_request_without_a_method_is_a_bad_request(pairs):
    """There is no default that would be safe."""
    with pytest.raises(BadRequest) as caught:
        EnvironBuilder().build(pairs)
    assert caught.value.status == 400


def test_values_are_bytes_read_as_latin_1():
    """PEP 3333: an application encodes back what it wants as bytes."""
    assert build((b"HTTP_X", bytes(range(1, 256))))["HTTP_X"] == bytes(range(1, 256)).decode(
        "latin-1"
    )


@pytest.mark.parametrize(
    "name",
    [
        b"HTTP_PROXY",
        b"HTTP_CONTENT_LENGTH",
        b"HTTP_CONTENT_TYPE",
        b"proxy-nokeepalive",
        b"Path",
        b"A=B",
        b"A\0",
        b"A\n",
        b"A B",
        b"A-B",
        b"\xc3\x89",
        b"",
        b"1A",
        b"_",
        b"wsgi.input",
        b"BASH_FUNC_f%%",
        b"A.B",
        b"http_proxy",
    ],
)
def test_odd_name_is_dropped(name):
    """Neither this request nor the next one with it sees the parameter, nor is it an error."""
    builder = EnvironBuilder()
    for _ in range(2):
        environ = builder.build([GET, (name, b"x"), (name, b"y")])
        assert environ == build()


@pytest.mark.parametrize("name", ["A", "HTTP_X_UNDER", "SSL_CLIENT_S_DN", "X1", "A__", "PATH"])
def test_usual_name_is_kept(name):
    """Configured parameters pass, whatever they are called in capitals."""
    assert build((name.encode(), b"x"))[name] == "x"


def test_repeated_header_is_joined_in_order():
    """An nginx before 1.23 and HAProxy send one parameter for each line."""
    environ = build((b"HTTP_X", b"a"), (b"HTTP_Y", b"-"), (b"HTTP_X", b"b"), (b"HTTP_X", b"c"))
    assert (environ["HTTP_X"], environ["HTTP_Y"]) == ("a, b, c", "-")


def test_repeated_cookie_is_joined_as_cookies_are():
    """A comma is part of a cookie's value (RFC 6265 §5.4)."""
    assert build((b"HTTP_COOKIE", b"a=1"), (b"HTTP_COOKIE", b"b=2"))["HTTP_COOKIE"] == "a=1; b=2"


@pytest.mark.parametrize(
    "name", [b"CONTENT_LENGTH", b"SCRIPT_NAME", b"REMOTE_USER", b"REQUEST_METHOD", b"HTTPS", b"A"]
)
def test_repeated_parameter_that_is_no_header_is_a_bad_request(name):
    """Two values for one fact: whoever checks one and uses the other is fooled."""
    error = refusal((name, b"1"), (name, b"1"))
    assert error.status == 400
    assert name.decode() in str(error)


def test_repeats_are_found_beside_dropped_names():
    """Dropped parameters do not make up for repeated ones in the count."""
    odd = [(b"HTTP_PROXY", b"x"), (b"odd", b"y")]
    assert build(*odd, (b"HTTP_X", b"a"), *odd, (b"HTTP_X", b"b"))["HTTP_X"] == "a, b"
    assert refusal(*odd, (b"A", b"a"), *odd, (b"A", b"b")).status == 400


@pytest.mark.parametrize(
    "name", [b"PATH_INFO", b"SCRIPT_NAME", b"SCRIPT_FILENAME", b"PATH_TRANSLATED", b"DOCUMENT_ROOT"]
)
def test_nul_in_a_path_is_a_bad_request(name):
    """A path with NUL names one file to Python and another to C."""
    assert refusal((name, b"/a\0b")).status == 400


def test_nul_in_a_decoded_uri_is_a_bad_request():
    """Decoding must not smuggle it in."""
    assert refusal((b"REQUEST_URI", b"/a%00"), path_info=PathInfo.REQUEST_URI).status == 400


def test_newline_in_a_path_stays_there():
    """CVE-2019-11043: a newline emptied PATH_INFO in another server, by arithmetic on lengths."""
    environ = build((b"SCRIPT_NAME", b"/app/a\nb"), mount="/app")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/a\nb")


def test_raw_uri_is_the_path_where_configured():
    """SCRIPT_NAME and PATH_INFO of the web server do not matter then."""
    environ = build(
        (b"REQUEST_URI", b"/app/a%2Fb//c?d"),
        (b"SCRIPT_NAME", b"/other"),
        (b"PATH_INFO", b"/thing"),
        mount="/app",
        path_info=PathInfo.REQUEST_URI,
    )
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/a/b//c")


def test_missing_raw_uri_falls_back_on_the_pair():
    """A ping from a tool has no REQUEST_URI."""
    environ = build((b"SCRIPT_NAME", b"/x"), path_info=PathInfo.REQUEST_URI)
    assert environ["PATH_INFO"] == "/x"


@pytest.mark.parametrize(
    ("https", "scheme", "expected"),
    [
        ("on", None, "https"),
        ("1", None, "https"),
        ("true", "http", "https"),
        ("YES", None, "https"),
        ("https", None, "https"),
        ("off", "https", "http"),
        ("0", "https", "http"),
        ("", "https", "https"),
        ("", "http", "http"),
        (None, "https", "https"),
        (None, "http", "http"),
        (None, "ftp", "http"),
        (None, None, "http"),
    ],
)
def test_scheme_is_read_from_https_then_request_scheme(https, scheme, expected):
    """HTTPS speaks first if it says yes or no."""
    given_pairs = ((b"HTTPS", https), (b"REQUEST_SCHEME", scheme))
    pairs = [(name, value.encode()) for name, value in given_pairs if value is not None]
    assert build(*pairs)["wsgi.url_scheme"] == expected


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        (b"example.org", "example.org", "80"),
        (b"example.org:8080", "example.org", "8080"),
        (b"[::1]", "[::1]", "80"),
        (b"[::1]:8080", "[::1]", "8080"),
        (b"example.org:x", "example.org", "80"),
        (b"example.org:", "example.org", "80"),
        (b":8080", "localhost", "8080"),
    ],
)
def test_server_name_and_port_fall_back_on_the_host_header(host, name, port):
    """An nginx without server_name sends an empty SERVER_NAME."""
    for sent in ((), ((b"SERVER_NAME", b""), (b"SERVER_PORT", b""))):
        environ = build((b"HTTP_HOST", host), *sent)
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)


def test_server_name_and_port_of_the_web_server_are_kept():
    """The Host header comes from the client."""
    environ = build((b"SERVER_NAME", b"a"), (b"SERVER_PORT", b"1"), (b"HTTP_HOST", b"b:2"))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("a", "1")


def test_port_of_https_defaults_to_443():
    """The scheme knows its port."""
    assert build((b"HTTPS", b"on"))["SERVER_PORT"] == "443"


@pytest.mark.parametrize("value", [b"", b"-1"])
def test_unknown_length_is_removed(value):
    """Applications take an absent length for unknown, and an empty one for a number."""
    assert "CONTENT_LENGTH" not in build((b"CONTENT_LENGTH", value))


@pytest.mark.parametrize("name", ["REMOTE_USER", "AUTH_TYPE", "REMOTE_IDENT"])
def test_empty_identity_is_removed(name):
    """Nobody is logged in: the key is absent, as PEP 3333 applications test it."""
    assert name not in build((name.encode(), b""))
    assert build((name.encode(), b"x"))[name] == "x"


def test_template_is_shared_and_not_changed():
    """Every environ is a dict of its own."""
    errors = object()
    builder = EnvironBuilder(template={"wsgi.errors": errors, "SERVER_SOFTWARE": "pyfpm"})
    first = builder.build([GET, (b"SERVER_SOFTWARE", b"nginx")])
    first["x"] = 1
    second = builder.build([GET])
    assert first["wsgi.errors"] is second["wsgi.errors"] is errors
    assert (first["SERVER_SOFTWARE"], second["SERVER_SOFTWARE"]) == ("nginx", "pyfpm")
    assert "x" not in second


def test_invented_header_names_do_not_fill_the_memory():
    """A client may send any number of different names over time."""
    builder = EnvironBuilder()
    for i in range(5000):
        builder.build([GET, (b"HTTP_N%d" % i, b"")])
    builder.build([GET, (b"HTTP_" + b"A" * 4000, b"")])
    builder.build_from(encode_pairs([GET, (b"HTTP_" + b"A" * 127, b""), (b"HTTP_NEW", b"")]))
    assert len(builder._names) <= 1024
    assert max(map(len, builder._names)) <= 128


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=12))
def test_any_parameters_give_an_environ_or_a_bad_request(pairs):
    """No bytes of a client become any other exception, or a value that is no string."""
    try:
        environ = build(*pairs)
    except BadRequest:
        return
    assert all(type(value) is str for value in environ.values())


@pytest.mark.parametrize("length", [127, 128, 300, 70_000])
def test_long_names_and_values_are_the_same_in_a_stream(length):
    """Lengths from 128 on take four bytes."""
    environ = build((b"HTTP_COOKIE", b"\xe9" * length), (b"HTTP_" + b"N" * min(length, 4000), b"v"))
    assert environ["HTTP_COOKIE"] == "\xe9" * length
    assert environ["HTTP_" + "N" * min(length, 4000)] == "v"


@pytest.mark.parametrize(
    "stream",
    [
        b"\x0e",
        b"\x0e\x03REQUEST_METHODGE",
        b"\x0e\x83\0\0",
        b"\x0e\xff\xff\xff\xffREQUEST_METHODGET",
        b"\x0e\x80\0\0\0REQUEST_METHOD\x01",
        b"\xff\xff\xff\xff\x01x",
        b"\xff\xff\xff\xff\xff\xff\xff\xffx",
        encode_pairs([GET] * 5000),
        encode_pairs([GET, (b"X" * 5000, b"")]),
    ],
)
def test_a_broken_stream_is_refused_as_the_decoder_refuses_it(stream):
    """Cut off, lengths up to 2³¹-1 that are not there, too many and too long names."""
    with pytest.raises(ProtocolError) as wanted:
        decode_pairs(stream)
    with pytest.raises(ProtocolError) as caught:
        EnvironBuilder().build_from(stream)
    assert str(caught.value) == str(wanted.value)


def test_the_bound_on_the_number_of_parameters_holds_for_streams():
    """A limit of its own, as the pool's configuration or the codec sets it."""
    stream = encode_pairs([GET, (b"A", b""), (b"B", b"")])
    assert EnvironBuilder(limits=Limits(max_params_count=3)).build_from(stream)["B"] == ""
    with pytest.raises(ProtocolError, match="more than 2"):
        EnvironBuilder(limits=Limits(max_params_count=2)).build_from(stream)


@given(st.binary(max_size=60))
def test_any_stream_gives_what_its_pairs_give(stream):
    """Or the same refusal."""
    stream = encode_pairs([GET]) + stream

    def outcome(build):
        try:
            return build()
        except (BadRequest, ProtocolError) as error:
            return repr(error)

    wanted = outcome(lambda: EnvironBuilder().build(decode_pairs(stream)))
    assert outcome(lambda: EnvironBuilder().build_from(stream)) == wanted


FEW_NAMES = (
    *(b"CONTENT_LENGTH", b"HTTPS", b"PATH_INFO", b"QUERY_STRING", b"REMOTE_USER", b"SCRIPT_NAME"),
    *(b"SERVER_NAME", b"SERVER_PORT", b"HTTP_HOST", b"HTTP_COOKIE", b"HTTP_PROXY", b"odd name"),
    b"HTTP_" + b"L" * 130,
)
few_values = st.sampled_from([b"", b"a", b"/b", b"on", b"\xe9", b"v" * 200])
few_pairs = st.lists(st.tuples(st.sampled_from(FEW_NAMES), few_values), max_size=7)
few_requests = st.one_of(
    st.lists(few_pairs.map(lambda pairs: [GET, *pairs]), min_size=1, max_size=4),
    # The same names again and again, as one web server sends them.
    st.tuples(
        st.lists(st.sampled_from(FEW_NAMES), max_size=7, unique=True),
        st.lists(st.lists(few_values, min_size=7, max_size=7), min_size=2, max_size=4),
    ).map(lambda drawn: [[GET, *zip(drawn[0], values, strict=False)] for values in drawn[1]]),
)


@given(few_requests, st.integers(1, 3))
@example([[GET, (b"HTTP_HOST", b"a")], [GET, (b"HTTP_HOST", b"b")]], 2)
@example([[(b"HTTP_HOST", b"a"), GET], [(b"HTTP_HOST", b"b"), GET]], 2)
@example([[GET, (b"HTTP_HOST", b"a")], [GET, (b"HTTP_HOST", b"a"), (b"HTTPS", b"on")]], 2)
@example([[GET, (b"PATH_INFO", b"/a")], [GET, (b"PATH_INFO", b"/b")]], 2)
def test_what_requests_have_in_common_changes_no_environ(requests, rounds):
    """A builder that has seen many requests builds what a new one builds.

    Long enough for it to learn several times what they have in common.
    """
    builder = EnvironBuilder()
    wanted = []
    for pairs in requests:
        try:
            wanted.append(EnvironBuilder().build(pairs))
        except BadRequest as error:
            wanted.append(str(error))
    for _ in range(rounds * 50):
        for pairs, environ in zip(requests, wanted, strict=True):
            try:
                assert builder.build_from(encode_pairs(pairs)) == environ
            except BadRequest as error:
                assert str(error) == environ  # noqa: PT017 - one of the two outcomes


def test_a_giant_request_is_not_remembered():
    """Its parameters would stay in memory until another has taught the builder."""
    builder = EnvironBuilder()
    for _ in range(200):
        builder.build_from(encode_pairs([GET, (b"HTTP_COOKIE", b"x" * 10_000)]))
    assert not builder._sample
    assert builder._layout is None


def test_an_environ_is_the_requests_own():
    """What an application changes in it is not there in the next one."""
    builder = EnvironBuilder()
    stream = encode_pairs([GET, (b"HTTP_HOST", b"h")])
    for _ in range(3):
        environ = builder.build_from(stream)
        assert environ["HTTP_HOST"] == "h"
        environ["HTTP_HOST"] = "changed"
        environ["new"] = True
    assert "new" not in builder.build_from(stream)


@pytest.mark.parametrize("length", [127, 128, 200, 255, 256, 300, 4096])
def test_long_names_that_are_dropped_and_vary_are_no_matter(length):
    """Whatever a client of the socket makes up, twice, the worker lives."""
    builder = EnvironBuilder()
    for value in (b"1", b"2", b"3", b"4"):
        pairs = [(b"x" * length, value), (b"REQUEST_METHOD", b"GET"), (b"SERVER_NAME", b"a")]
        assert builder.build_from(encode_pairs(pairs)) == EnvironBuilder().build(pairs)
