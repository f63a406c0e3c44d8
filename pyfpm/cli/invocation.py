"""What every command needs of the command line: which configuration, and where the master is."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyfpm.config import Config, PoolOptions, find_control_path, load_config
from pyfpm.control import ControlClient, ExitCode, default_path
from pyfpm.errors import ControlError

SEARCHED = ("./pyfpm.conf", "/etc/pyfpm/pyfpm.conf")


@dataclass(slots=True)
class Invocation:
    """One run of `pyfpm`: filled in while the command line is parsed."""

    command: str = ""
    config_path: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def find_config(self) -> str | None:
        """The configuration file: -c, $PYFPM_CONF, or the first that exists; None if none does."""
        if self.config_path is not None:
            return self.config_path
        if self.environ.get("PYFPM_CONF"):
            return self.environ["PYFPM_CONF"]
        return next((path for path in SEARCHED if os.path.exists(path)), None)

    def load_config(
        self,
        *,
        allow_root: bool = False,
        daemonize: bool = False,
        check_system: bool = True,
        spares_others: bool = False,
    ) -> Config:
        """The configuration; raises ConfigError, or ControlError (78) when there is no file.

        For the arguments see config.load_config.
        """
        path = self.find_config()
        if path is None:
            raise ControlError(
                f"no configuration: none of {', '.join(SEARCHED)} exists; "
                "name one with -c, or write one with `pyfpm init`",
                ExitCode.CONFIG,
            )
        return load_config(
            path,
            self.environ,
            is_root=os.geteuid() == 0,
            allow_root=allow_root,
            daemonize=daemonize,
            check_system=check_system,
            spares_others=spares_others,
        )

    def load_pool(self, name: str) -> PoolOptions:
        """One pool of the configuration; raises ControlError (64) for a name that it lacks."""
        pools = self.load_config(check_system=False).pools
        if name not in pools:
            raise ControlError(f"no pool {name!r}; there are: {', '.join(pools)}", ExitCode.USAGE)
        return pools[name]

    def control_client(self, *, on_progress: Callable[[str], None] | None = None) -> ControlClient:
        """A client of the master that runs this configuration, or the default one without any."""
        path = self.find_config()
        is_root = os.geteuid() == 0
        if path is None:
            place = default_path(self.environ, os.geteuid(), is_root=is_root)
        else:
            place = find_control_path(path, self.environ, is_root=is_root)
        return ControlClient(place, on_progress=on_progress)
