"""What all pools of one master share."""

from collections.abc import Callable
from dataclasses import dataclass

from pyfpm.config import MainOptions
from pyfpm.master.activation import PassedSockets
from pyfpm.master.reaper import Reaper


@dataclass(slots=True)
class Setting:
    """`package_fd` is the folder of this very package; see master.package.

    `room` is how many more processes process.max allows; `settled` is called whenever a pool
    knows for the first time whether it can serve; `soft_file_limit` is RLIMIT_NOFILE as the
    master found it. `passed` are the sockets of systemd; `emergency` takes the name of a pool
    that needs a new generation. A reload changes `main`.
    """

    main: MainOptions
    reaper: Reaper
    package_fd: int
    soft_file_limit: int
    is_root: bool
    passed: PassedSockets
    room: Callable[[], int]
    settled: Callable[[], None]
    emergency: Callable[[str], None]
