"""The options of a pool that bound what one request or connection may take."""

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.options import kinds
from pyfpm.config.options.option import Reload, option


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """Sizes, time limits and kept connections."""

    __slots__ = ()
    TITLE: ClassVar[str] = "Requests"

    request_terminate_timeout: float = option(
        "request_terminate_timeout",
        kinds.TIME,
        "After how long `pyfpm.RequestTimeout` is raised in a request, which then is answered with"
        " 504 unless its response has begun. 0 is never.",
        default="0",
    )
    request_terminate_grace: float = option(
        "request_terminate_grace",
        kinds.DURATION,
        "How long the request may then take to end before its worker is killed.",
        default="1s",
        reload=Reload.MASTER,
    )
    recycle_after_timeout: bool = option(
        "recycle_after_timeout",
        kinds.BOOLEAN,
        "Whether a worker is replaced after `pyfpm.RequestTimeout` was raised in it: an exception"
        " at any point may have left a lock held.",
        default="yes",
    )
    request_slowlog_timeout: float = option(
        "request_slowlog_timeout",
        kinds.TIME,
        "After how long a request that still runs is written to the slow log, with the stacks of"
        " all threads of its worker. 0 is never.",
        default="0",
        reload=Reload.MASTER,
    )
    slowlog: str | None = option(
        "slowlog",
        kinds.PATH,
        "File for slow requests; the error log unless set.",
        reload=Reload.MASTER,
    )
    request_slowlog_trace_depth: int = option(
        "request_slowlog_trace_depth",
        kinds.TRACE_DEPTH,
        "How many calls of each stack the slow log shows, the latest ones.",
        default="20",
        reload=Reload.MASTER,
    )
    worker_hung_timeout: float = option(
        "worker_hung_timeout",
        kinds.TIME,
        "After how long a worker that runs no request, and does not react to the master, is killed"
        " and replaced. 0 is never.",
        default="30s",
        reload=Reload.MASTER,
    )
    request_queue_timeout: float = option(
        "request_queue_timeout",
        kinds.TIME,
        "A request that has waited for a worker longer than this is answered with 503 and a"
        " Retry-After header. 0 is never. It needs the parameter REQUEST_START from the web"
        " server.",
        default="0",
    )
    request_buffer_size: int = option(
        "request_buffer_size",
        kinds.SIZE,
        "Up to this size a request's body is collected before the application starts; a longer"
        " one streams.",
        default="1M",
    )
    request_buffer_total: int = option(
        "request_buffer_total",
        kinds.SIZE,
        "How much a worker collects over all its connections; beyond that, bodies stream at once.",
        default="64M",
    )
    request_max_body: int = option(
        "request_max_body",
        kinds.SIZE,
        "The longest body; a longer one is answered with 413. 0 sets no bound.",
        default="0",
    )
    request_max_params: int = option(
        "request_max_params",
        kinds.SOME_BYTES,
        "How long the parameters of a request may be, headers included.",
        default="1M",
    )
    request_header_timeout: float = option(
        "request_header_timeout",
        kinds.DURATION,
        "How long a request's parameters may take to arrive.",
        default="10s",
    )
    request_body_timeout: float = option(
        "request_body_timeout",
        kinds.DURATION,
        "How long the body may pause between two pieces.",
        default="60s",
    )
    response_write_timeout: float = option(
        "response_write_timeout",
        kinds.DURATION,
        "How long the web server may refuse to take more of a response.",
        default="60s",
    )
    keepalive_timeout: float = option(
        "keepalive_timeout",
        kinds.DURATION,
        "How long a kept connection may be idle. It must be longer than the web server keeps its"
        " own connections, or requests get lost.",
        default="75s",
    )
    keepalive_max_requests: int = option(
        "keepalive_max_requests",
        kinds.NOT_NEGATIVE,
        "After how many requests a kept connection is closed; 0 is never. Anything else costs"
        " requests, since a web server may just be sending the next.",
        default="0",
    )
