"""What the processes of pyfpm say to each other: frozen data, encoded and decoded.

`boot` is the document that a zygote reads once; `channel` are the small messages on the control
sockets between the master, its zygotes and its workers. One process trusts no other here: a
message that does not decode raises ProtocolError.
"""

from pyfpm.messages.boot import BootDocument, InheritedDescriptor, ListenerPlan, RequestLimits
from pyfpm.messages.bootstrap import BOOTSTRAP
from pyfpm.messages.control import (
    MAX_MESSAGE_BYTES,
    BootFailed,
    Drain,
    Draining,
    LogLine,
    Message,
    Poke,
    Ready,
    Saturated,
    Spawn,
    Spawned,
    SpawnFailed,
    UnsafePreload,
    decode_message,
    encode_message,
)

__all__ = [
    "BOOTSTRAP",
    "MAX_MESSAGE_BYTES",
    "BootDocument",
    "BootFailed",
    "Drain",
    "Draining",
    "InheritedDescriptor",
    "ListenerPlan",
    "LogLine",
    "Message",
    "Poke",
    "Ready",
    "RequestLimits",
    "Saturated",
    "Spawn",
    "SpawnFailed",
    "Spawned",
    "UnsafePreload",
    "decode_message",
    "encode_message",
]
