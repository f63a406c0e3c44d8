"""From a pool's options to what its zygote is started with."""

import os
from collections.abc import Sequence

from pyfpm.config import PoolOptions, Preload
from pyfpm.master.identity import Identity, environment_of
from pyfpm.master.listeners import Listener
from pyfpm.messages import BootDocument, InheritedDescriptor, ListenerPlan, RequestLimits

# Native numeric libraries start a pool of threads at import, and threads do not survive the fork
# of a worker. One thread each during the import leaves nothing behind; the zygote takes the
# variables back before workers are forked.
_NUMERIC_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)


def make_boot_document(
    options: PoolOptions,
    listeners: Sequence[Listener],
    *,
    allowed_uids: tuple[int, ...],
    generation: int,
    slots: int,
    preload: bool | None,
    process_control_timeout_s: float,
    numerics: tuple[str, ...],
) -> BootDocument:
    """The document for one zygote.

    `allowed_uids` are the users of listen.allowed_users; `preload` None means auto.
    """
    networks = tuple(str(network) for network in options.listen_allowed_clients)
    return BootDocument(
        pool=options.name,
        generation=generation,
        master_pid=os.getpid(),
        app_module=options.app.module,
        app_attribute=options.app.attribute,
        app_origin=options.app.origin,
        directory=options.directory,
        preload=preload,
        slots=slots,
        max_children=options.pm_max_children,
        listeners=tuple(
            ListenerPlan(
                descriptor=InheritedDescriptor.LISTENERS + index,
                address=listener.address,
                is_tcp=listener.is_tcp,
                allowed=networks if listener.is_tcp else (),
                allowed_users=() if listener.is_tcp else allowed_uids,
            )
            for index, listener in enumerate(listeners)
        ),
        limits=RequestLimits(
            buffer_size_bytes=options.request_buffer_size,
            buffer_total_bytes=options.request_buffer_total,
            max_body_bytes=options.request_max_body,
            max_params_bytes=options.request_max_params,
            header_timeout_s=options.request_header_timeout,
            body_timeout_s=options.request_body_timeout,
            write_timeout_s=options.response_write_timeout,
            keepalive_timeout_s=options.keepalive_timeout,
            keepalive_max_requests=options.keepalive_max_requests,
            max_connections=options.pm_max_connections,
            queue_timeout_s=options.request_queue_timeout,
            terminate_timeout_s=options.request_terminate_timeout,
            recycle_after_timeout=options.recycle_after_timeout,
            max_requests=options.pm_max_requests,
            max_requests_jitter=options.pm_max_requests_jitter,
            max_memory_bytes=options.pm_max_memory,
        ),
        mount=options.mount,
        path_info=options.path_info.value,
        status_path=options.pm_status_path or "",
        ping_path=options.ping_path or "",
        ping_response=options.ping_response,
        minder=options.pm_minder,
        process_control_timeout_s=process_control_timeout_s,
        single_threaded_numerics=numerics,
        access_format="" if options.access_log is None else options.access_format,
        access_suppressed=options.access_suppress_path,
    )


def preload_of(options: PoolOptions) -> bool | None:
    """`preload` as the boot document has it."""
    return {Preload.ON: True, Preload.OFF: False, Preload.AUTO: None}[options.preload]


def zygote_environment(
    options: PoolOptions, identity: Identity, *, preload: bool | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The environment to execute with, and the variables in it that only the import needs."""
    environment = environment_of(options, identity)
    if preload is False:
        return environment, ()
    numerics = tuple(name for name in _NUMERIC_THREADS if name not in environment)
    return environment | dict.fromkeys(numerics, "1"), numerics
