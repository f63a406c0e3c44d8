"""The options of a pool's own logs and of what its workers print."""

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.options import kinds
from pyfpm.config.options.option import Reload, option, planned


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Access log, and the output of workers."""

    __slots__ = ()
    TITLE: ClassVar[str] = "Logs"

    access_log: None = planned("access.log", "A line for every request.")
    access_format: None = planned("access.format", "How that line looks.")
    access_suppress_path: None = planned(
        "access.suppress_path[]", "Paths whose successful requests get no line."
    )
    catch_workers_output: bool = option(
        "catch_workers_output",
        kinds.BOOLEAN,
        "Whether what workers print goes to the error log; otherwise it is lost.",
        default="yes",
    )
    decorate_workers_output: bool = option(
        "decorate_workers_output",
        kinds.BOOLEAN,
        "Whether such lines say which worker printed them.",
        default="no",
        reload=Reload.MASTER,
    )
    stdout_logfile: None = planned("stdout_logfile", "A file of its own for standard output.")
    stderr_logfile: None = planned("stderr_logfile", "A file of its own for standard error.")
    stdout_logfile_maxbytes: None = planned(
        "stdout_logfile_maxbytes", "At which size that file is rotated."
    )
    stdout_logfile_backups: None = planned(
        "stdout_logfile_backups", "How many rotated files are kept."
    )
