"""What all pools of one master share."""

from collections.abc import Callable
from dataclasses import dataclass

from pyfpm.config import MainOptions
from pyfpm.master.reaper import Reaper


@dataclass(frozen=True, slots=True)
class Setting:
    """`package_fd` is the folder of this very package, opened with O_PATH.

    `room` is how many more processes process.max allows; `settled` is called whenever a pool
    knows for the first time whether it can serve; `soft_file_limit` is RLIMIT_NOFILE as the
    master found it.
    """

    main: MainOptions
    reaper: Reaper
    package_fd: int
    soft_file_limit: int
    is_root: bool
    room: Callable[[], int]
    settled: Callable[[], None]
