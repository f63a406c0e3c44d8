"""The boot document: all that a pool's runtime must know, written by the master before exec."""

import json
from dataclasses import asdict, dataclass
from enum import IntEnum

from pyfpm.errors import ProtocolError

BOOT_VERSION = 4


class InheritedDescriptor(IntEnum):
    """The numbers under which a zygote finds its descriptors; listeners follow from LISTENERS."""

    CONTROL = 3
    BOOT_DOCUMENT = 4
    PACKAGE = 5
    BOARD = 6
    NOTICE = 7
    CHANNEL_SEND = 8
    CHANNEL_RECEIVE = 9
    LISTENERS = 10


@dataclass(frozen=True, slots=True)
class ListenerPlan:
    """One inherited listening socket.

    `allowed` are networks (TCP), `allowed_users` numbers of users (Unix); empty means everybody.
    """

    descriptor: int
    address: str
    is_tcp: bool
    allowed: tuple[str, ...]
    allowed_users: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on what a peer may cost a worker; 0 means none where the contract says so."""

    buffer_size_bytes: int
    buffer_total_bytes: int
    max_body_bytes: int
    max_params_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    write_timeout_s: float
    keepalive_timeout_s: float
    keepalive_max_requests: int
    max_connections: int
    queue_timeout_s: float  # 0: none, as in all that follow
    terminate_timeout_s: float
    recycle_after_timeout: bool
    max_requests: int
    max_requests_jitter: float  # a fraction: by how much less it may be
    max_memory_bytes: int


@dataclass(frozen=True, slots=True)
class BootDocument:
    """One pool, one generation. `slots` is the size of the board, not the number of workers."""

    pool: str
    generation: int
    master_pid: int
    app_module: str
    app_attribute: str
    app_origin: str
    directory: str
    preload: bool | None  # None: decide by looking at what the import leaves (auto)
    slots: int
    max_children: int
    listeners: tuple[ListenerPlan, ...]
    limits: RequestLimits
    mount: str
    path_info: str
    status_path: str
    ping_path: str
    ping_response: str
    minder: bool
    process_control_timeout_s: float
    single_threaded_numerics: tuple[str, ...]  # variables that the master set for the import
    access_format: str  # empty where there is no access log
    access_suppressed: tuple[str, ...]
    version: int = BOOT_VERSION

    def encode(self) -> bytes:
        """The document as bytes."""
        return json.dumps(asdict(self)).encode()


def decode_boot_document(data: bytes) -> BootDocument:
    """The inverse of `BootDocument.encode`; ProtocolError where it is not of this version."""
    try:
        values = json.loads(data)
        if values["version"] != BOOT_VERSION:
            raise ProtocolError(f"boot document of version {values['version']}")
        values["limits"] = RequestLimits(**values["limits"])
        values["listeners"] = tuple(
            ListenerPlan(
                **{
                    **plan,
                    "allowed": tuple(plan["allowed"]),
                    "allowed_users": tuple(plan["allowed_users"]),
                }
            )
            for plan in values["listeners"]
        )
        values["single_threaded_numerics"] = tuple(values["single_threaded_numerics"])
        values["access_suppressed"] = tuple(values["access_suppressed"])
        return BootDocument(**values)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(f"boot document: {error}") from error
