"""The options of a pool's process manager: how many workers, when, and for how long."""

# ruff: noqa: RUF009  (option() makes a dataclass field, which ruff cannot know)

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.options import kinds
from pyfpm.config.options.option import Reload, option, planned
from pyfpm.config.values import Share
from pyfpm.policy import ProcessManager


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """How many workers a pool has, and what they answer about themselves."""

    __slots__ = ()
    TITLE: ClassVar[str] = "Process manager"

    pm: ProcessManager = option(
        "pm",
        kinds.PROCESS_MANAGER,
        "`static` keeps `pm.max_children` workers, `dynamic` keeps some to spare, `ondemand` has"
        " none until a request comes.",
        default="dynamic",
        reload=Reload.MASTER,
    )
    pm_max_children: int = option(
        "pm.max_children",
        kinds.WORKERS,
        "The most workers of the pool, or their fixed number with `pm = static`.",
        computed="max(2, 2 × cores), cores being the smaller of CPU affinity and cgroup quota",
        reload=Reload.MASTER,
    )
    pm_min_spare_servers: int = option(
        "pm.min_spare_servers",
        kinds.WORKERS,
        "With `pm = dynamic`, new workers are started while fewer than this are idle.",
        computed="max(1, pm.max_children // 4)",
        reload=Reload.MASTER,
    )
    pm_max_spare_servers: int = option(
        "pm.max_spare_servers",
        kinds.WORKERS,
        "With `pm = dynamic`, workers are retired while more than this are idle.",
        computed="max(pm.min_spare_servers, pm.max_children // 2)",
        reload=Reload.MASTER,
    )
    pm_start_servers: int = option(
        "pm.start_servers",
        kinds.WORKERS,
        "With `pm = dynamic`, how many workers the pool starts with.",
        computed="pm.min_spare_servers + (pm.max_spare_servers − pm.min_spare_servers) // 2",
        reload=Reload.MASTER,
    )
    pm_max_spawn_rate: int = option(
        "pm.max_spawn_rate",
        kinds.POSITIVE,
        "The most workers that the pool starts within one second.",
        default="32",
        reload=Reload.MASTER,
    )
    pm_process_idle_timeout: float = option(
        "pm.process_idle_timeout",
        kinds.DURATION,
        "With `pm = ondemand`, a worker that was idle for this long is retired.",
        default="10s",
        reload=Reload.MASTER,
    )
    pm_max_requests: int = option(
        "pm.max_requests",
        kinds.NOT_NEGATIVE,
        "After how many requests a worker is replaced; 0 is never. It goes on serving until its"
        " replacement is ready.",
        default="0",
    )
    pm_max_requests_jitter: float = option(
        "pm.max_requests_jitter",
        kinds.PERCENT,
        "By how much less than `pm.max_requests` and `pm.max_lifetime` it may be, at random, so"
        " that workers started together are not replaced together.",
        default="10%",
    )
    pm_max_lifetime: float = option(
        "pm.max_lifetime",
        kinds.TIME,
        "At which age a worker is replaced; 0 is never.",
        default="0",
        reload=Reload.MASTER,
    )
    pm_max_memory: int = option(
        "pm.max_memory",
        kinds.SIZE,
        "With more resident memory than this after a request a worker is replaced; 0 is never."
        " Pages that it shares with others count in full.",
        default="0",
    )
    pm_max_memory_hard: int = option(
        "pm.max_memory_hard",
        kinds.SIZE,
        "With more resident memory than this a worker is killed, in the middle of a request too;"
        " 0 is never. Looked at twice a second.",
        default="0",
        reload=Reload.MASTER,
    )
    pm_threads: int = option(
        "pm.threads",
        kinds.ONLY_ONE,
        "How many requests a worker runs at once in threads.",
        default="1",
    )
    pm_concurrency: None = planned(
        "pm.concurrency", "How many ASGI requests a worker runs at once."
    )
    pm_max_connections: int = option(
        "pm.max_connections",
        kinds.POSITIVE,
        "How many connections a worker holds open. Beyond that it closes those that have sent no"
        " whole request for longest; where there are none, it accepts no more.",
        default="1000",
    )
    pm_reload_surge: Share = option(
        "pm.reload_surge",
        kinds.SHARE,
        "How many workers more than `pm.max_children` there may be while some are replaced, as a"
        " part of `pm.max_children` or a number; at least 1. Workers that drain count.",
        default="25%",
        reload=Reload.MASTER,
    )
    pm_drain_timeout: float = option(
        "pm.drain_timeout",
        kinds.TIME,
        "How long a worker that is being replaced or no longer needed may take to finish its"
        " requests, before it is told to end with SIGTERM, and killed a second later. 0 sets no"
        " bound.",
        default="0",
        reload=Reload.MASTER,
    )
    pm_minder: bool = option(
        "pm.minder",
        kinds.BOOLEAN,
        "Whether a worker in a long request passes its parked connections on, by a thread. Switch"
        " it off for applications that fork by themselves.",
        default="yes",
    )
    pm_status_path: str | None = option(
        "pm.status_path",
        kinds.URL_PATH,
        "URL path at which the pool answers with its own status.",
    )
    pm_status_listen: None = planned(
        "pm.status_listen", "An address that answers with the status however busy the pool is."
    )
    ping_path: str | None = option(
        "ping.path",
        kinds.URL_PATH,
        "URL path at which a worker answers without the application, for health checks.",
    )
    ping_response: str = option("ping.response", kinds.TEXT, "What it answers.", default="pong")
