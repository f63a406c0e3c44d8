"""The options of a pool that say what it runs."""

# ruff: noqa: RUF009  (option() makes a dataclass field, which ruff cannot know)

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.cgi import PathInfo
from pyfpm.config.options import kinds
from pyfpm.config.options.option import Reload, option, planned
from pyfpm.config.values import AppPath, Interface, Isolation, Preload


@dataclass(frozen=True, kw_only=True)
class ApplicationOptions:
    """What a pool runs: application, interpreter, environment, and how it is brought up."""

    __slots__ = ()
    TITLE: ClassVar[str] = "The application"

    app: AppPath = option(
        "app",
        kinds.APP,
        "The application, as `module:callable`; the callable may be an attribute path.",
        required=True,
    )
    interface: Interface = option(
        "interface",
        kinds.INTERFACE,
        "How workers call the application; `auto` finds out by looking at it.",
        default="auto",
    )
    worker_script: None = planned(
        "worker_script", "A file that takes its requests in a loop of its own."
    )
    script_root: None = planned(
        "script_root", "A folder of scripts; the web server says which one a request runs."
    )
    security_limit_extensions: None = planned(
        "security.limit_extensions", "The file name endings that a script pool may run."
    )
    command: None = planned(
        "command", "Any FastCGI program that expects its listening socket on descriptor 0."
    )
    python: str = option(
        "python",
        kinds.PATH,
        "The interpreter, or the folder of a venv. It needs Python 3.11 or newer, but pyfpm need"
        " not be installed for it.",
        computed="the interpreter that runs the master",
    )
    directory: str = option(
        "directory",
        kinds.PATH,
        "Working folder of the pool, and the first place where it looks for modules.",
        computed="the folder of the file that holds the pool's section",
        aliases=("chdir",),
    )
    environment: tuple[tuple[str, str], ...] = option(
        "environment",
        kinds.ENVIRONMENT,
        'Variables for the application, as `A="1",B="2"`, or one by one as `env[NAME] = value`.'
        " A value of `env[NAME]` that is `$OTHER` is taken from the master's environment. A pool's"
        " own settings win over those of `[pool-defaults]`, `env[NAME]` over `environment`.",
        default="",
        aliases=("env[NAME]",),
    )
    environment_file: None = planned(
        "environment_file", "A file of variables that is read as the pool's user."
    )
    clear_env: bool = option(
        "clear_env",
        kinds.BOOLEAN,
        "Whether the application starts without the master's environment.",
        default="yes",
    )
    mount: str = option(
        "mount",
        kinds.MOUNT,
        "URL prefix that the application sees as SCRIPT_NAME; empty for the root.",
        default="",
    )
    path_info: PathInfo = option(
        "path_info",
        kinds.PATH_INFO,
        "Where PATH_INFO comes from: `auto` trusts and repairs what the web server sends,"
        " `request_uri` decodes the raw URI once.",
        default="auto",
    )
    isolation: Isolation = option(
        "isolation",
        kinds.ISOLATION,
        "What requests share: with `persist` a worker keeps the application between requests.",
        default="persist",
    )
    autostart: bool = option(
        "autostart",
        kinds.BOOLEAN,
        "Whether the pool starts with the master.",
        default="yes",
        reload=Reload.MASTER,
    )
    priority: int = option(
        "priority",
        kinds.NOT_NEGATIVE,
        "Pools with a lower number start first and stop last.",
        default="999",
        reload=Reload.MASTER,
    )
    preload: Preload = option(
        "preload",
        kinds.PRELOAD,
        "Whether the application is imported once, before workers are forked: `on`, `off`, or"
        " `auto`, which goes back on it when the import leaves threads or connections behind.",
        default="auto",
    )
    preload_idle_timeout: float = option(
        "preload.idle_timeout",
        kinds.TIME,
        "After this long without workers an ondemand pool gives up its zygote too.",
        default="10m",
        reload=Reload.MASTER,
    )
    boot_timeout: float = option(
        "boot_timeout",
        kinds.DURATION,
        "How long importing the application may take before it counts as a failed boot.",
        default="30s",
        reload=Reload.MASTER,
    )
