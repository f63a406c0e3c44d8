"""The status of a pool as a JSON document: the one place that knows the names and their order.

PHP-FPM's names come first, spelled and ordered as its own JSON page does, so that existing
exporters read pyfpm unchanged; pyfpm's own follow. PHP-FPM 8.4's `memory peak` is not among them:
no worker measures it.
"""

import json

from pyfpm.observe.status import PoolStatus, ProcessStatus

Value = str | int | float | dict[str, int] | list[dict[str, str | int | float]]


def status_to_dict(status: PoolStatus, *, full: bool = False) -> dict[str, Value]:
    """The JSON status of a pool; `full` adds `processes`."""
    document: dict[str, Value] = {
        "pool": status.pool,
        "process manager": status.process_manager,
        "start time": status.start_epoch_s,
        "start since": status.start_since_s,
        "accepted conn": status.accepted,
        "listen queue": status.listen_queue,
        "max listen queue": status.max_listen_queue,
        "listen queue len": status.listen_queue_length,
        "idle processes": status.idle,
        "active processes": status.active,
        "total processes": status.total,
        "max active processes": status.max_active,
        "max children reached": status.max_children_reached,
        "slow requests": status.slow_requests,
        "max children": status.max_children,
        "parked connections": status.parked,
        "generation": status.generation,
        "reloads": status.reloads,
        "requests 5xx": status.requests_5xx,
        "terminated requests": status.terminated_requests,
        "handed off connections": status.handed_off,
        "refused connections": status.refused,
        "boot duration": round(status.boot_s, 6),
        "state": status.state,
    }
    if status.reason:
        document["reason"] = status.reason
    document["refusals"] = dict(status.refusals)
    document["recycles"] = dict(status.recycles)
    document["respawns"] = dict(status.respawns)
    if full:
        document["processes"] = [process_to_dict(process) for process in status.processes]
    return document


def process_to_dict(process: ProcessStatus) -> dict[str, str | int | float]:
    """One entry of `processes`; what a client did not send is `-`, as in PHP-FPM."""
    return {
        "pid": process.pid,
        "state": process.state,
        "start time": process.start_epoch_s,
        "start since": process.start_since_s,
        "requests": process.requests,
        "request duration": process.duration_us,
        "request method": process.method or "-",
        "request uri": process.uri or "-",
        "content length": process.content_length,
        "user": process.user or "-",
        "script": process.script or "-",
        "last request cpu": process.last_cpu_percent,
        "last request memory": process.last_memory_bytes,
        "generation": process.generation,
        "requests 5xx": process.requests_5xx,
        "parked connections": process.parked,
        "handed off connections": process.handed_off,
    }


def render_json(status: PoolStatus, *, full: bool = False) -> str:
    """The JSON page: ASCII, on one line, as PHP-FPM's."""
    return json.dumps(status_to_dict(status, full=full), separators=(",", ":"))
