"""What the processes of pyfpm say to each other: frozen data, encoded and decoded.

`boot` is the document that a zygote reads once; `channel` are the small messages on the control
sockets between the master, its zygotes and its workers. One process trusts no other here: a
message that does not decode raises ProtocolError.
"""

from pyfpm.messages.boot import (
    BOOT_VERSION,
    BootDocument,
    InheritedDescriptor,
    ListenerPlan,
    RequestLimits,
)
from pyfpm.messages.bootstrap import BOOTSTRAP, bootstrap, rehearsal
from pyfpm.messages.control import (
    MAX_MESSAGE_BYTES,
    BootFailed,
    Drain,
    Draining,
    Due,
    LinesLost,
    LogLine,
    MemoryFile,
    Message,
    NewAccessLog,
    Parked,
    Poke,
    Ready,
    Refused,
    Saturated,
    Spawn,
    Spawned,
    SpawnFailed,
    UnsafePreload,
    decode_message,
    encode_message,
)
from pyfpm.messages.signals import ReservedSignal

__all__ = [
    "BOOTSTRAP",
    "BOOT_VERSION",
    "MAX_MESSAGE_BYTES",
    "BootDocument",
    "BootFailed",
    "Drain",
    "Draining",
    "Due",
    "InheritedDescriptor",
    "LinesLost",
    "ListenerPlan",
    "LogLine",
    "MemoryFile",
    "Message",
    "NewAccessLog",
    "Parked",
    "Poke",
    "Ready",
    "Refused",
    "RequestLimits",
    "ReservedSignal",
    "Saturated",
    "Spawn",
    "SpawnFailed",
    "Spawned",
    "UnsafePreload",
    "bootstrap",
    "decode_message",
    "encode_message",
    "rehearsal",
]
