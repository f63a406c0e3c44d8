"""FastCGI 1.0 without I/O: bytes in, events out, on both sides of the connection.

`ServerConnection` is the application's side, with `StdinReader` for long bodies and the `encode_…`
functions of `replies` for what it writes; `ClientConnection` the web server's, with those of
`requests`.
"""

from pyfpm.fastcgi.client import ClientConnection
from pyfpm.fastcgi.events import (
    Abort,
    Begin,
    ClientEvent,
    Data,
    DataEnd,
    EndRequest,
    Event,
    Params,
    Send,
    Stderr,
    Stdin,
    StdinEnd,
    Stdout,
    Unknown,
    Values,
)
from pyfpm.fastcgi.limits import Limits
from pyfpm.fastcgi.pairs import decode_pairs, encode_pairs
from pyfpm.fastcgi.records import SPLIT_BYTES, ProtocolStatus, Role
from pyfpm.fastcgi.replies import (
    encode_end,
    encode_end_request,
    encode_response,
    encode_stderr,
    encode_stdout,
    encode_stdout_header,
)
from pyfpm.fastcgi.requests import (
    encode_abort,
    encode_begin,
    encode_get_values,
    encode_params,
    encode_request,
    encode_stdin,
)
from pyfpm.fastcgi.server import ServerConnection
from pyfpm.fastcgi.stdin import StdinReader

__all__ = [
    "SPLIT_BYTES",
    "Abort",
    "Begin",
    "ClientConnection",
    "ClientEvent",
    "Data",
    "DataEnd",
    "EndRequest",
    "Event",
    "Limits",
    "Params",
    "ProtocolStatus",
    "Role",
    "Send",
    "ServerConnection",
    "Stderr",
    "Stdin",
    "StdinEnd",
    "StdinReader",
    "Stdout",
    "Unknown",
    "Values",
    "decode_pairs",
    "encode_abort",
    "encode_begin",
    "encode_end",
    "encode_end_request",
    "encode_get_values",
    "encode_pairs",
    "encode_params",
    "encode_request",
    "encode_response",
    "encode_stderr",
    "encode_stdin",
    "encode_stdout",
    "encode_stdout_header",
]
