"""The master's own nice value and limits. What it may not have it says, and serves without.

Where it is not root the configuration has said so already (config.privileges); a root that lacks
the capability is told here.
"""

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
            text = f"process.priority = {main.process_priority}: {error.strerror}: that takes"
            own = os.getpriority(os.PRIO_PROCESS, 0)
            _warn(log, "process_priority", f"{text} CAP_SYS_NICE; it stays at {own}")
    if main.rlimit_core is not None:
        _set_core_limit(main.rlimit_core, log)


def _raise_file_limit(wanted: int | None, log: Log) -> None:
    """As many descriptors as allowed, unless told otherwise."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted or hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (ValueError, OSError):  # beyond the hard limit without CAP_SYS_RESOURCE
        text = f"rlimit_files = {wanted}: not permitted without CAP_SYS_RESOURCE"
        _warn(log, "rlimit_files", f"{text}, nor above fs.nr_open; using {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _set_core_limit(wanted: int, log: Log) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (wanted, wanted))
    except (ValueError, OSError):  # as above
        text = f"rlimit_core: not permitted without CAP_SYS_RESOURCE; using {hard}"
        _warn(log, "rlimit_core", text)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def _warn(log: Log, event: str, text: str) -> None:
    if os.geteuid() == 0:
        log.warning(event, text)
