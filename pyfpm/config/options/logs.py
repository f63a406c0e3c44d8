"""The options of a pool's own logs and of what its workers print."""

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.options import kinds
from pyfpm.config.options.option import Reload, option, planned
from pyfpm.observe import DEFAULT_FORMAT


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Access log, and the output of workers."""

    __slots__ = ()
    TITLE: ClassVar[str] = "Logs"

    access_log: str | None = option(
        "access.log",
        kinds.ACCESS_LOG,
        "Where each request gets a line: a file, which the master opens, or the master's own"
        " `stdout` or `stderr`. None is written unless it is set.",
    )
    access_format: str = option(
        "access.format",
        kinds.ACCESS_FORMAT,
        "How such a line looks: `combined`, `json`, or PHP-FPM's placeholders, which the page on"
        " logs explains.",
        default=DEFAULT_FORMAT,
    )
    access_suppress_path: tuple[str, ...] = option(
        "access.suppress_path[]",
        kinds.REQUEST_PATHS,
        "Paths, exactly as `%r` writes them, of which GET and HEAD without query string and body"
        " get no line if they are answered with 200 to 299.",
        default="",
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
