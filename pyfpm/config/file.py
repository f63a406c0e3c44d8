"""The file that a master serves, read anew for every reload."""

import os
from dataclasses import dataclass

from pyfpm.config.loading import Config, load_config


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """Which file, and what the command line said about it; call it for what stands there now.

    `path` is absolute. Plain data, so that a master can tell the next one.
    """

    path: str
    allow_root: bool = False
    daemonize: bool = False

    def __call__(self) -> Config:
        """The configuration, checked against this machine; ConfigError with every problem.

        Those that a tenant can cause for its own pool are `own_problems`.
        """
        is_root = os.geteuid() == 0
        return load_config(
            self.path,
            os.environ,
            is_root=is_root,
            allow_root=self.allow_root,
            daemonize=self.daemonize,
            spares_others=True,
            is_running=True,
        )
