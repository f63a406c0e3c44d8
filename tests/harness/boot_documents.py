"""A boot document as a pool without any settings of its own would get it."""

from pathlib import Path

from pyfpm.messages import BootDocument, RequestLimits

ORIGIN = "/etc/pyfpm/pools.d/shop.conf:7"
LIMITS = RequestLimits(
    buffer_size_bytes=1 << 20,
    buffer_total_bytes=64 << 20,
    max_body_bytes=0,
    max_params_bytes=1 << 20,
    header_timeout_s=10,
    body_timeout_s=60,
    write_timeout_s=60,
    keepalive_timeout_s=75,
    keepalive_max_requests=0,
    max_connections=1000,
    queue_timeout_s=0,
    terminate_timeout_s=0,
    recycle_after_timeout=True,
    max_requests=0,
    max_requests_jitter=0.1,
    max_memory_bytes=0,
)


def make_boot_document(
    directory: Path, module: str, attribute: str = "application", **changes: object
) -> BootDocument:
    """Make one for `module:attribute` in `directory`, with `changes` to its other fields."""
    values: dict[str, object] = {
        "pool": "shop",
        "generation": 1,
        "master_pid": 1,
        "app_module": module,
        "app_attribute": attribute,
        "app_origin": ORIGIN,
        "directory": str(directory),
        "preload": None,
        "slots": 1,
        "max_children": 1,
        "listeners": (),
        "limits": LIMITS,
        "mount": "",
        "path_info": "auto",
        "status_path": "",
        "ping_path": "",
        "ping_response": "",
        "minder": False,
        "process_control_timeout_s": 5,
        "single_threaded_numerics": (),
        "access_format": "",
        "access_suppressed": (),
    }
    return BootDocument(**{**values, **changes})  # type: ignore[arg-type]
