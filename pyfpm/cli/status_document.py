"""The JSON status as the values that the renderers take: the inverse of observe.status_to_dict."""

from collections.abc import Mapping
from typing import Any

from pyfpm.errors import ControlError
from pyfpm.observe import PoolStatus, ProcessStatus


def read_pools(document: Mapping[str, Any]) -> list[PoolStatus]:
    """Every pool of the answer to the command `status`; raises ControlError for another shape."""
    try:
        return [_pool(pool) for pool in document["pools"].values()]
    except (AttributeError, KeyError, TypeError) as error:
        raise ControlError(f"the status of another version of pyfpm: {error!r}", 70) from None


def _pool(pool: Mapping[str, Any]) -> PoolStatus:
    return PoolStatus(
        pool=pool["pool"],
        process_manager=pool["process manager"],
        start_epoch_s=pool["start time"],
        start_since_s=pool["start since"],
        accepted=pool["accepted conn"],
        listen_queue=pool["listen queue"],
        max_listen_queue=pool["max listen queue"],
        listen_queue_length=pool["listen queue len"],
        idle=pool["idle processes"],
        active=pool["active processes"],
        max_active=pool["max active processes"],
        max_children=pool["max children"],
        max_children_reached=pool["max children reached"],
        slow_requests=pool["slow requests"],
        parked=pool["parked connections"],
        generation=pool["generation"],
        reloads=pool["reloads"],
        requests_5xx=pool["requests 5xx"],
        handed_off=pool["handed off connections"],
        boot_s=pool["boot duration"],
        state=pool["state"],
        reason=pool.get("reason", ""),
        recycles=pool["recycles"],
        respawns=pool["respawns"],
        processes=tuple(_process(process) for process in pool.get("processes", ())),
    )


def _process(process: Mapping[str, Any]) -> ProcessStatus:
    return ProcessStatus(
        pid=process["pid"],
        state=process["state"],
        letter="",  # stands on scoreboard lines only, which are not in the document
        start_epoch_s=process["start time"],
        start_since_s=process["start since"],
        requests=process["requests"],
        duration_us=process["request duration"],
        method=_text(process["request method"]),
        uri=_text(process["request uri"]),
        content_length=process["content length"],
        user=_text(process["user"]),
        script=_text(process["script"]),
        last_cpu_percent=process["last request cpu"],
        last_memory_bytes=process["last request memory"],
        generation=process["generation"],
        requests_5xx=process["requests 5xx"],
        parked=process["parked connections"],
        handed_off=process["handed off connections"],
    )


def _text(value: str) -> str:
    return "" if value == "-" else value
