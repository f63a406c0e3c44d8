"""The options of `[pyfpm]`: the master's own."""

# ruff: noqa: RUF009  (option() makes a dataclass field, which ruff cannot know)

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.options import kinds
from pyfpm.config.options.option import Reload, option, planned
from pyfpm.config.values import LogFormat, LogLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class MainOptions:
    """Every option of `[pyfpm]`, in the contract's order. Times are seconds, sizes bytes."""

    TITLE: ClassVar[str] = "The master"

    pid: str | None = option(
        "pid",
        kinds.PATH,
        "File that holds the master's process id while it runs. The last folder of the path is made"
        " if it is missing.",
        reload=Reload.RESTART,
    )
    error_log: str = option(
        "error_log",
        kinds.ERROR_LOG,
        "Where the master and the pools report: a file, `stderr`, or `syslog`.",
        default="stderr",
        reload=Reload.MASTER,
    )
    log_level: LogLevel = option(
        "log_level",
        kinds.LOG_LEVEL,
        "The least important level that still reaches the error log.",
        default="notice",
        reload=Reload.MASTER,
    )
    log_format: LogFormat = option(
        "log_format",
        kinds.LOG_FORMAT,
        "`text` writes lines in PHP-FPM's form, `json` one object a line.",
        default="text",
        reload=Reload.MASTER,
    )
    log_limit: int = option(
        "log_limit",
        kinds.LOG_LIMIT,
        "The longest line of the error log, in characters: the master's own lines are cut there,"
        " lines from workers are continued on the next.",
        default="1024",
        reload=Reload.MASTER,
    )
    control: str = option(
        "control",
        kinds.PATH,
        "Unix socket on which `pyfpm status`, `stop` and the like reach the master.",
        computed="`/run/pyfpm/control.sock`; for a master that is not root"
        " `$XDG_RUNTIME_DIR/pyfpm/control.sock`, else `/tmp/pyfpm-UID/control.sock`",
        reload=Reload.RESTART,
    )
    control_owner: str | None = option(
        "control.owner",
        kinds.TEXT,
        "User (name or id) that owns the control socket; the master's user unless set.",
        reload=Reload.MASTER,
    )
    control_group: str | None = option(
        "control.group",
        kinds.TEXT,
        "Group (name or id) of the control socket; the master's group unless set.",
        reload=Reload.MASTER,
    )
    control_mode: int = option(
        "control.mode",
        kinds.MODE,
        "Mode of the control socket. Whom it admits may read the status; only root and the"
        " master's own user may change anything.",
        default="0600",
        reload=Reload.MASTER,
    )
    daemonize: bool = option(
        "daemonize",
        kinds.BOOLEAN,
        "Whether the master goes to the background, as with `start -D`. It needs an `error_log`"
        " other than `stderr`.",
        default="no",
        reload=Reload.RESTART,
    )
    process_control_timeout: float = option(
        "process_control_timeout",
        kinds.TIME,
        "How long a graceful stop waits for requests that are under way.",
        default="30s",
        reload=Reload.MASTER,
    )
    process_max: int = option(
        "process.max",
        kinds.NOT_NEGATIVE,
        "The most workers over all pools together; 0 sets no such bound.",
        default="0",
        reload=Reload.MASTER,
    )
    process_priority: int | None = option(
        "process.priority",
        kinds.NICE,
        "Nice value of the master, and of every pool that sets none of its own; as it was started"
        " unless set. Below that it needs root.",
        reload=Reload.RESTART,
    )
    emergency_restart_threshold: int = option(
        "emergency_restart_threshold",
        kinds.NOT_NEGATIVE,
        "How many workers of a pool must die of SIGSEGV, SIGBUS, SIGABRT or SIGILL within the"
        " interval for the pool to get a new zygote and new workers. 0 is never.",
        default="0",
        reload=Reload.MASTER,
    )
    emergency_restart_interval: float = option(
        "emergency_restart_interval",
        kinds.TIME,
        "The interval that the threshold counts in; 0 switches emergency restarts off.",
        default="0",
        reload=Reload.MASTER,
    )
    rlimit_files: int | None = option(
        "rlimit_files",
        kinds.MASTER_FILES,
        "How many files the master may have open; the hard limit it was started with unless set.",
        reload=Reload.RESTART,
    )
    rlimit_core: int | None = option(
        "rlimit_core",
        kinds.LIMIT,
        "The largest core file of the master, and of every pool that sets none of its own, or"
        " `unlimited`; the limit that the master was started with unless set.",
        reload=Reload.RESTART,
    )
    statsd: None = planned("statsd", "A statsd server that gets the metrics, `udp://host:port`.")
    statsd_prefix: None = planned("statsd_prefix", "What the names of metrics begin with.")
    statsd_interval: None = planned("statsd_interval", "How often metrics are sent.")
