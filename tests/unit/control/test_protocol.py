import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.control.protocol import (
    ExitCode,
    Failure,
    Progress,
    Request,
    Success,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from pyfpm.errors import ControlError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=4)


@given(command=st.text(), arguments=json_objects)
def test_request_encoded_and_decoded_is_the_same(command, arguments):
    """Any command and arguments survive the wire, as one line."""
    line = encode_request(Request(command, arguments))
    assert line.index(b"\n") == len(line) - 1
    assert decode_request(line) == Request(command, arguments)


@given(
    reply=st.builds(Progress, st.text())
    | st.builds(Success, json_objects)
    | st.builds(Failure, st.text(), st.integers(1, 255))
)
def test_reply_encoded_and_decoded_is_the_same(reply):
    """Any reply survives the wire, as one line."""
    line = encode_reply(reply)
    assert line.index(b"\n") == len(line) - 1
    assert decode_reply(line) == reply


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"\xff\xfe\n",
        b"[]\n",
        b'"status"\n',
        b"[" * 60000 + b"\n",
        b'{"version":1,"command":"status"}\n',
        b'{"version":1,"command":"status","arguments":{},"more":1}\n',
        b'{"version":1,"command":"status","arguments":[]}\n',
        b'{"version":1,"command":7,"arguments":{}}\n',
        b'{"version":1,"command":"status","command":"stop","arguments":{}}\n',
        b'{"version":1,"command":"status","arguments":{"a":NaN}}\n',
        b'{"version":1,"command":"status","arguments":{"a":1e999}}\n',
        b'{"version":true,"command":"status","arguments":{}}\n',
    ],
)
def test_line_that_is_no_request_is_refused_as_usage(line):
    """Rubbish, unknown, missing, doubled and wrongly typed fields are refused, not guessed at."""
    with pytest.raises(ControlError) as caught:
        decode_request(line)
    assert caught.value.exit_code == ExitCode.USAGE


def test_request_of_another_version_names_both_versions():
    """A newer client learns which version the master speaks, whatever else its line holds."""
    line = json.dumps({"version": 2, "verb": "status"}).encode()
    with pytest.raises(ControlError, match=r"version 2.*speaks version 1"):
        decode_request(line)


@pytest.mark.parametrize(
    "line",
    [
        b"{}\n",
        b'{"ok":true}\n',
        b'{"ok":true,"result":[]}\n',
        b'{"ok":1,"result":{},"error":"x"}\n',
        b'{"ok":false,"error":"x"}\n',
        b'{"ok":false,"error":"x","exit_code":0}\n',
        b'{"ok":false,"error":"x","exit_code":256}\n',
        b'{"ok":false,"error":"x","exit_code":true}\n',
        b'{"ok":true,"result":{"a":-1e999}}\n',
        b'{"progress":3}\n',
        b'{"progress":"x","ok":true}\n',
    ],
)
def test_line_that_is_no_reply_is_an_internal_error(line):
    """The client does not take half a reply for success, nor an exit code of 0 for a failure."""
    with pytest.raises(ControlError) as caught:
        decode_reply(line)
    assert caught.value.exit_code == ExitCode.INTERNAL


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\n", "control request: not JSON: expecting value: line 2 column 1 (char 1)"),
        (b"GET / HTTP/1.1\r\n", "control request: not JSON: expecting value: line 1"),
        (b"\xff\xfe\n", "control request: not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 60000 + b"\n", "control request: nested too deeply"),
        (b"[]\n", "control request: not a JSON object"),
        (b"{}\n", "control request: it has no version: expected version, command, arguments"),
        (b'{"kind":"Ready"}\n', "control request: it has no version: expected version, command,"),
        (b'{"version":1}\n', "control request: expected version, command, arguments; got version"),
        (
            b'{"version":1,"command":7,"arguments":{}}\n',
            "control request: command: expected a string",
        ),
        (
            b'{"version":1,"command":"status","arguments":[]}\n',
            "control request: arguments: expected an object",
        ),
        (
            b'{"version":1,"command":"s","arguments":{},"command":"t"}\n',
            "control request: 'command' is given twice",
        ),
        (
            b'{"version":1,"command":"s","arguments":{"a":NaN}}\n',
            "control request: NaN is not JSON",
        ),
    ],
)
def test_line_that_is_no_request_is_refused_with_what_is_wrong(line, said):
    """Whoever writes a client of their own reads this."""
    with pytest.raises(ControlError) as caught:
        decode_request(line)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "x" * 60000},
        {"version": 1, "command": "s", "arguments": {}, "x" * 60000: 1},
        {"version": 1, "command": "s", "arguments": {}, **{f"x{n}": 1 for n in range(9000)}},
    ],
)
def test_answer_to_a_line_that_is_no_request_is_short(fields):
    """What a client sends is not sent back to it, nor into the log of whoever starts it."""
    with pytest.raises(ControlError) as caught:
        decode_request(json.dumps(fields).encode())
    assert len(str(caught.value)) < 250


def test_line_that_is_no_reply_says_so():
    """It is the master's word then that was not understood."""
    with pytest.raises(ControlError, match="control reply: not JSON"):
        decode_reply(b"rubbish\n")
