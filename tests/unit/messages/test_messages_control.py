"""Messages on the control sockets: inverse, bounded, and nothing else gets through."""

import contextlib
import json
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfpm.errors import ProtocolError
from pyfpm.messages import (
    MAX_MESSAGE_BYTES,
    BootFailed,
    Drain,
    LogLine,
    Parked,
    Poke,
    Ready,
    Refused,
    Saturated,
    Spawn,
    Spawned,
    SpawnFailed,
    decode_message,
    encode_message,
)
from pyfpm.messages.control import _KINDS

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
OF_TYPE = {
    int: st.integers(0, 2**32 - 1),
    float: st.floats(0, 1e9),
    bool: st.booleans(),
    str: texts,
}
messages = st.one_of(
    [
        st.builds(kind, **{field.name: OF_TYPE[field.type] for field in fields(kind)})
        for kind in _KINDS.values()
    ]
)
GIANTS = ["a", "\0", '"', "é", "😀", "\u2028", "\ud800", "line\n"]


def packed(**values):
    return json.dumps(values).encode()


@settings(deadline=None)
@given(message=messages)
def test_decoding_is_the_inverse_of_encoding(message):
    """What one process says is what the other one hears."""
    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize("character", ["a", "€", "😀"])
def test_texts_longer_than_any_process_writes_are_refused(character):
    """A sender that does not cut its texts is none of ours, and long texts cost the receiver."""
    longest = decode_message(encode_message(LogLine("error", character * 100_000)))
    whole = packed(kind="LogLine", level="error", message=longest.message + character * 8192)
    with pytest.raises(ProtocolError, match="too long"):
        decode_message(whole)
    with pytest.raises(ProtocolError, match="too long"):
        decode_message(packed(kind="Refused", reason="x" * 3000, peer="x" * 3000, text="x" * 3000))


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 10**6])
def test_every_text_that_is_sent_is_also_taken(length):
    """Cut or not, in one text or in several."""
    for message in (BootFailed("x" * length), Refused("x" * length, "y" * length, "z" * length)):
        assert type(decode_message(encode_message(message))) is type(message)


@pytest.mark.parametrize("character", GIANTS)
@pytest.mark.parametrize("kind", _KINDS.values(), ids=_KINDS)
def test_giant_texts_stay_below_one_datagram(kind, character):
    """A longer message would be cut by recv and be no message any more."""
    giant = character * 1_000_000
    sample = {int: 2**32 - 1, float: 1e9, bool: False, str: giant}
    message = kind(**{field.name: sample[field.type] for field in fields(kind)})
    data = encode_message(message)
    assert len(data) < MAX_MESSAGE_BYTES
    assert type(decode_message(data)) is kind


def test_long_traceback_keeps_its_beginning_and_its_end():
    """The last line of a traceback is the one that matters, the first names the place."""
    text = "pools.d/shop.conf:3: import failed\n" + "frame\n" * 9000 + "ValueError: the reason"
    found = decode_message(encode_message(BootFailed(text))).text
    assert found.startswith("pools.d/shop.conf:3: import failed\n")
    assert found.endswith("ValueError: the reason")
    assert "characters left out" in found


def test_half_surrogates_from_an_application_are_sent_as_question_marks():
    """A file name that is no UTF-8 in a traceback does not keep the boot failure from arriving."""
    assert decode_message(encode_message(BootFailed("caf\udce9"))) == BootFailed("caf?")


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_garbage_raises_protocol_error_only(data):
    """The master treats every byte as hostile."""
    with contextlib.suppress(ProtocolError):
        decode_message(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(kind=st.sampled_from([*_KINDS, "Message", "", None, 1, [], {}]), data=st.data())
def test_json_of_the_wrong_shape_raises_protocol_error_only(kind, data):
    """Right names with wrong values, wrong names, nested values: refused, never a crash."""
    names = [field.name for field in fields(_KINDS[kind])] if kind in list(_KINDS) else ["serial"]
    values = data.draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys([*names, "extra"], json_values))
    )
    document = data.draw(st.sampled_from([{"kind": kind, **values}, values, [kind], kind]))
    try:
        message = decode_message(json.dumps(document).encode())
    except ProtocolError:
        return
    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        packed(kind="Spawn", serial=True, slot=1),
        packed(kind="Spawn", serial=1.0, slot=1),
        packed(kind="Spawn", serial="1", slot=1),
        packed(kind="Drain", parked=1),
        packed(kind="Drain", parked=None),
        packed(kind="BootFailed", text=["a"]),
        packed(kind="Ready", boot_s=True, preloaded=True, reason=""),
        packed(kind="Ready", boot_s="1", preloaded=True, reason=""),
    ],
)
def test_field_of_another_type_is_refused(data):
    """A bool is no int here, a float no int, and nothing is converted on the way."""
    with pytest.raises(ProtocolError):
        decode_message(data)


def test_whole_seconds_are_a_duration_too():
    """JSON writers drop the fraction of 2.0."""
    assert decode_message(packed(kind="Ready", boot_s=2, preloaded=False, reason="")) == Ready(
        2.0, preloaded=False, reason=""
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "-1", "1e300", "1" + "0" * 400])
def test_number_that_no_process_can_mean_is_refused(number):
    """A hostile duration or pid must not reach arithmetic, where it raises OverflowError."""
    for name, kind, rest in (
        ("boot_s", "Ready", ', "preloaded": true, "reason": ""'),
        ("pid", "Spawned", ', "serial": 1'),
        ("pending", "Saturated", ""),
    ):
        data = f'{{"kind": "{kind}", "{name}": {number}{rest}}}'.encode()
        with pytest.raises(ProtocolError):
            decode_message(data)


def test_text_that_is_no_unicode_is_refused():
    """JSON can smuggle half a surrogate pair in, on which every later encode would raise."""
    with pytest.raises(ProtocolError):
        decode_message(b'{"kind": "BootFailed", "text": "\\ud800"}')


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"Poke"',
        b"{}",
        packed(kind="poke"),
        packed(kind="Message"),
        packed(kind=["Poke"]),
        packed(kind="Poke", extra=1),
        packed(kind="Spawn", serial=1),
        packed(kind="Spawn", serial=1, slot=2, pid=3),
        packed(kind="Poke") + packed(kind="Poke"),
        b"[" * 60000,
        b'{"kind": "Poke"',
        b"\xff\xfe\x00",
    ],
)
def test_what_is_not_exactly_one_message_is_refused(data):
    """No guessing: missing, further or misspelt parts end the conversation."""
    with pytest.raises(ProtocolError):
        decode_message(data)


def test_kinds_are_told_apart_on_the_wire():
    """Two kinds with the same fields do not turn into each other."""
    for message in (Spawn(1, 2), Spawned(1, 2), SpawnFailed(1, "x"), Poke(), Saturated(1)):
        assert type(decode_message(encode_message(message))) is type(message)
    assert decode_message(encode_message(Drain(Parked.HAND_OFF))) == Drain(Parked.HAND_OFF)
    assert decode_message(encode_message(LogLine("error", "m"))) == LogLine("error", "m")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", ": not JSON: expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xff\xff", ": not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 60000, ": nested too deeply"),
        (b"null", ": expected a JSON object, got null"),
        (b"[]", ": expected a JSON object, got a list"),
        (b'"Poke"', ": expected a JSON object, got a text"),
        (b"1.5", ": expected a JSON object, got a number"),
        (b"{}", ": it has no kind"),
        (packed(kind="poke"), ": there is no kind 'poke'"),
        (packed(kind="Poke\x1b[31m"), r": there is no kind 'Poke\x1b[31m'"),
        (packed(kind="x" * 60000), f": there is no kind '{'x' * 40}…'"),
        (packed(kind=["Poke"]), ": its kind is a list, not a text"),
        (packed(kind=None), ": its kind is null, not a text"),
        (packed(kind="Poke", extra=1), " Poke: expected no fields; got extra"),
        (packed(kind="Poke", **{"\ud800": 1}), r" Poke: expected no fields; got \ud800"),
        (packed(kind="Spawn", serial=1), " Spawn: expected the fields serial, slot; got serial"),
        (packed(kind="Spawn"), " Spawn: expected the fields serial, slot; got none"),
        (
            packed(kind="Spawned", serial="1", pid=1),
            " Spawned: serial: expected a whole number from 0 to 4294967295, got a text",
        ),
        (
            packed(kind="Spawned", serial=1, pid=-1),
            " Spawned: pid: expected a whole number from 0 to 4294967295, got another number",
        ),
        (
            packed(kind="Ready", boot_s=True, preloaded=True, reason=""),
            " Ready: boot_s: expected a number from 0 to 4294967295, got true or false",
        ),
        (
            packed(kind="BootFailed", text="\ud800"),
            " BootFailed: text: expected a text, got half a character",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_message_is_refused_with_what_is_wrong(data, said):
    """The line in the log is for people: no name of an exception, and no more of it than needed."""
    with pytest.raises(ProtocolError) as caught:
        decode_message(data)
    text = str(caught.value)
    assert text.startswith(f"control message{said}")
    assert "Error" not in text
    assert len(text) < 200
