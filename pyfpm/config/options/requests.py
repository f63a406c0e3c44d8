"""The options of a pool that bound what one request or connection may take."""

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.options import kinds
from pyfpm.config.options.option import option, planned


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """Sizes, time limits and kept connections."""

    __slots__ = ()
    TITLE: ClassVar[str] = "Requests"

    request_terminate_timeout: None = planned(
        "request_terminate_timeout", "After how long a request is interrupted."
    )
    request_terminate_grace: None = planned(
        "request_terminate_grace", "How long an interrupted request may take to end."
    )
    recycle_after_timeout: None = planned(
        "recycle_after_timeout", "Whether a worker is replaced after a request timed out."
    )
    request_slowlog_timeout: None = planned(
        "request_slowlog_timeout", "After how long a request is written to the slow log."
    )
    slowlog: None = planned("slowlog", "The slow log.")
    request_slowlog_trace_depth: None = planned(
        "request_slowlog_trace_depth", "How many calls of each stack the slow log shows."
    )
    worker_hung_timeout: None = planned(
        "worker_hung_timeout", "After how long a worker that does not move is killed."
    )
    request_queue_timeout: None = planned(
        "request_queue_timeout", "How long a request may have waited and still be served."
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
