"""What clients, zygotes and workers may say to the master, and it to them."""

import contextlib
from dataclasses import fields

from pyfpm.control.protocol import (
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from pyfpm.errors import ControlError, ProtocolError
from pyfpm.messages import decode_message, encode_message
from pyfpm.messages.boot import decode_boot_document


def fuzz_control(data: bytes) -> None:
    """A line of a client, read by the master, which runs as root; and one of the master."""
    line = data.partition(b"\n")[0]
    with contextlib.suppress(ControlError):
        request = decode_request(line)
        encoded = encode_request(request)
        assert encoded.count(b"\n") == 1
        assert encoded.endswith(b"\n")
        assert decode_request(encoded) == request
    with contextlib.suppress(ControlError):
        reply = decode_reply(line)
        encoded = encode_reply(reply)
        assert encoded.count(b"\n") == 1
        assert decode_reply(encoded) == reply


def fuzz_message(data: bytes) -> None:
    """A datagram of a worker or zygote, read by the master."""
    with contextlib.suppress(ProtocolError):
        message = decode_message(data)
        values = [getattr(message, field.name) for field in fields(message)]
        # What the master computes with, and what it writes into its log.
        assert all(0 <= value < 2**32 for value in values if isinstance(value, int | float))
        assert all(value.encode() is not None for value in values if isinstance(value, str))
        encoded = encode_message(message)
        again = decode_message(encoded)
        assert type(again) is type(message)
        # Texts beyond a length are cut in the middle.
        assert again == message or len(data) > 4096
        assert encode_message(again) == encoded or len(data) > 4096


def fuzz_boot_document(data: bytes) -> None:
    """The document of a zygote."""
    with contextlib.suppress(ProtocolError):
        decode_boot_document(data)
