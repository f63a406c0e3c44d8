"""The master's own nice value and limits. What it may not have it says, and serves without."""

import os
import resource

from pyfpm.config import MainOptions
from pyfpm.logs import Log


def apply_own_limits(main: MainOptions, log: Log) -> None:
    """process.priority, rlimit_core and rlimit_files of `[pyfpm]`.

    Pools inherit the first two, but get back the limit of files that the master was started with.
    """
    _raise_file_limit(main.rlimit_files, log)
    if main.process_priority is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, main.process_priority)
        except OSError as error:
            log.warning(
                "process_priority",
                f"process.priority = {main.process_priority}: {error.strerror}; it stays at"
                f" {os.getpriority(os.PRIO_PROCESS, 0)}",
            )
    if main.rlimit_core is not None:
        _set_core_limit(main.rlimit_core, log)


def _raise_file_limit(wanted: int | None, log: Log) -> None:
    """As many descriptors as allowed, unless told otherwise."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted or hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (ValueError, OSError):  # beyond the hard limit without CAP_SYS_RESOURCE
        log.warning("rlimit_files", f"rlimit_files = {wanted}: not permitted, using {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _set_core_limit(wanted: int, log: Log) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (wanted, wanted))
    except (ValueError, OSError):  # as above
        log.warning("rlimit_core", f"rlimit_core: not permitted, using {hard}")
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
