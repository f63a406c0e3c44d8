"""The same targets with inputs that hypothesis builds: mostly valid ones, cut and bent."""

from conformance.wire import begin, params_stream, record
from fuzz.choices import join_pieces
from fuzz.codec import fuzz_client, fuzz_long_body, fuzz_server
from fuzz.parameters import fuzz_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfpm.fastcgi import encode_abort, encode_pairs, encode_request, encode_response, encode_stdin

searched = settings(max_examples=150, deadline=None)

names = st.sampled_from(
    [
        *(b"REQUEST_METHOD", b"SCRIPT_NAME", b"PATH_INFO", b"REQUEST_URI", b"CONTENT_LENGTH"),
        *(b"HTTP_HOST", b"HTTP_COOKIE", b"HTTP_PROXY", b"HTTPS", b"SERVER_NAME", b"REMOTE_USER"),
        *(b"SCRIPT_FILENAME", b"wsgi.input", b"http_x", b"HTTP_" + b"X" * 123),
    ]
)
values = st.sampled_from(
    [
        *(b"", b"GET", b"/", b"/app", b"/app/x", b"/a/b//", b"on", b"-1", b"12", b"h:80"),
        *(b"[::1]:80", b"proxy:fcgi://h/x", b"http://h/%2F?q", b"\xe9\xff", b"v" * 128, b"\0"),
    ]
)
pairs = st.lists(st.tuples(names, values | st.binary(max_size=6)), max_size=10)
ids = st.sampled_from([1, 1, 1, 2, 256])
contents = st.binary(max_size=40)
records = st.builds(
    record, st.integers(0, 12), st.integers(0, 2), contents, st.sampled_from([0, 0, 1, 255])
)
conversations = st.lists(
    st.one_of(
        st.builds(encode_request, ids, pairs, contents, keep_conn=st.booleans()),
        st.builds(begin, ids, st.integers(0, 4), keep_conn=st.booleans()),
        st.builds(params_stream, ids, pairs, st.integers(1, 50)),
        st.builds(encode_stdin, ids, contents),
        ids.map(encode_abort),
        records,
        st.binary(max_size=8),
    ),
    max_size=6,
).map(b"".join)
choices = st.binary(min_size=3, max_size=3)


@given(choices, conversations)
@searched
def test_conversations_are_what_the_rules_say(chosen, stream):
    """Requests that overlap, stop halfway or follow each other."""
    fuzz_server(chosen + stream)


@given(choices, conversations)
@searched
def test_bodies_with_anything_between_are_what_the_rules_say(chosen, stream):
    """What a StdinReader passes on is what the codec alone would have seen."""
    fuzz_long_body(chosen + stream)


@given(st.binary(min_size=1, max_size=1), st.builds(encode_response, ids, contents, contents))
@searched
def test_answers_are_what_the_rules_say(chosen, stream):
    """Whole answers, cut anywhere."""
    fuzz_client(chosen + stream)


@given(
    st.tuples(*[st.integers(0, 7)] * 5).map(bytes),
    pairs,
    st.lists(
        st.tuples(st.sampled_from(["same", "less", "more", "other", "cut", "turned"]), pairs),
        max_size=4,
    ),
)
@searched
def test_requests_after_each_other_are_what_the_rules_say(chosen, usual, others):
    """What is usual is learned from some; the next ones differ a little, and it must not show."""
    streams = [encode_pairs(usual)]
    for how, more in others:
        changed = {
            "same": encode_pairs(usual),
            "less": encode_pairs(usual[1:]),
            "more": encode_pairs([*usual, *more]),
            "other": encode_pairs(more),
            "cut": encode_pairs(usual)[:-1],
            "turned": encode_pairs(usual[::-1]),
        }
        streams.append(changed[how])
    fuzz_parameters(chosen + join_pieces(*streams))
