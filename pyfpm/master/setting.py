"""What all pools of one master share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pyfpm.config import MainOptions
from pyfpm.master.activation import PassedSockets
from pyfpm.master.adoption import Allowance
from pyfpm.master.disposals import Disposals
from pyfpm.master.flow import ALL_BURST_BYTES, ALL_BYTES_PER_S
from pyfpm.master.hosts import Hosts
from pyfpm.master.link import ALL_MESSAGES_AT_ONCE, ALL_MESSAGES_PER_S
from pyfpm.master.reaper import Reaper
from pyfpm.master.turns import Turns


@dataclass(slots=True)
class Setting:
    """`package_fd` is the folder of this very package; see master.package.

    `room` is how many more processes process.max allows the pool of this name; `settled` is called
    whenever a pool knows for the first time whether it can serve; `soft_file_limit` is
    RLIMIT_NOFILE as the master found it. `passed` are the sockets of systemd; `emergency` takes the
    name of a pool that needs a new generation. `messages` and `output` say whose processes are
    heard next. A reload changes `main`. `adopted` bounds the connections that are kept for pools
    without workers; `lets_in`: more of them may be adopted. `disposals` close them, and what else
    tenants had. `hosts` knows the host names that pools listen on.
    """

    main: MainOptions
    reaper: Reaper
    package_fd: int
    soft_file_limit: int
    is_root: bool
    passed: PassedSockets
    room: Callable[[str], int]
    settled: Callable[[], None]
    emergency: Callable[[str], None]
    messages: Turns = field(default_factory=lambda: Turns(ALL_MESSAGES_PER_S, ALL_MESSAGES_AT_ONCE))
    adopted: Allowance = field(default_factory=Allowance)
    disposals: Disposals = field(init=False)
    lets_in: bool = True
    output: Turns = field(default_factory=lambda: Turns(ALL_BYTES_PER_S, ALL_BURST_BYTES))
    hosts: Hosts = field(init=False)

    def __post_init__(self) -> None:
        self.disposals = Disposals(self.reaper)
        self.hosts = Hosts(self.reaper)
