"""What a master leaves to the one that takes its place by exec.

Everything that the kernel does not keep across an exec, as frozen data, written as JSON into a
memfd. Descriptors are plain numbers: they stay open, and mean the same afterwards. Times are
CLOCK_MONOTONIC, which goes on too.

The writer and the reader are different versions of this module. A field that the writer does not
know takes its default, one that the reader does not know is dropped; whatever cannot be done that
way raises STATE_VERSION, and the new master then reads the version before its own as well. The
board's layout and the messages of the workers change with BOOT_VERSION.
"""

import json
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pyfpm.errors import PyfpmError
from pyfpm.master.identity import Identity
from pyfpm.messages import BOOT_VERSION

STATE_VERSION = 1
_READ = (STATE_VERSION,)
# 3 had fewer words in a slot, which read as zeros, and no Refused.
_READ_BOOT = (3, BOOT_VERSION)

Texts = dict[str, str | None]
"""Options as `config.snapshot_options` writes them."""


@dataclass(frozen=True, slots=True)
class SavedPipe:
    """One stream of a process; `rest` is the half line that was read, as Latin-1."""

    stream: str
    descriptor: int
    limit: int
    rest: str


@dataclass(frozen=True, slots=True)
class SavedProcess:
    """What the master holds of a process; None for what is closed, or is not there yet."""

    pid: int | None
    pidfd: int | None
    link: int | None
    pipes: tuple[SavedPipe, ...]
    boot_ends_s: float | None

    @property
    def descriptors(self) -> set[int]:
        """All of them."""
        found = {self.pidfd, self.link, *(pipe.descriptor for pipe in self.pipes)}
        return {number for number in found if number is not None}


@dataclass(frozen=True, slots=True)
class SavedZygote:
    """A zygote that is not reaped yet."""

    process: SavedProcess
    started_s: float
    preloads: bool
    ready: bool
    failed: bool


@dataclass(frozen=True, slots=True)
class SavedZygotes:
    """The zygote of a generation, or that there is none and why."""

    zygote: SavedZygote | None
    boot_s: float
    remark: str
    preload: bool | None
    returned: bool
    stopped: bool
    give_back_s: float | None


@dataclass(frozen=True, slots=True)
class SavedWorker:
    """A worker; `replacement` is the serial of the one that boots to take its place."""

    process: SavedProcess
    serial: int
    slot: int
    generation: int
    spawned_s: float
    luck: float
    state: str
    was_ready: bool
    zygote_pid: int | None
    due: str
    replacement: int | None
    leaves_for: str
    drain_ends_s: float | None
    stacks: int | None


@dataclass(frozen=True, slots=True)
class SavedListener:
    """A listening socket; generations name it by its descriptor."""

    descriptor: int
    address: str
    path: str | None
    inode: tuple[int, int]
    configured: str


@dataclass(frozen=True, slots=True)
class SavedChannel:
    """A hand-off channel; generations name it by `send`."""

    send: int
    receive: int


@dataclass(frozen=True, slots=True)
class SavedFolder:
    """The private temporary folder of a sandboxed pool; generations share it."""

    path: str
    descriptor: int


@dataclass(frozen=True, slots=True)
class SavedGeneration:
    """One generation of a pool."""

    number: int
    options: Texts
    identity: Identity
    listeners: tuple[int, ...]
    channel: int
    hands_over: bool
    zygotes: SavedZygotes
    access_log: int | None = None
    folder: SavedFolder | None = None


@dataclass(frozen=True, slots=True)
class SavedHealth:
    """A pool's state; `memory` is the policy's, field by field."""

    state: str
    failure: str
    settled: bool
    memory: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SavedPool:
    """A running pool; the first of the `generations` is the current one."""

    name: str
    slots: int
    board: int
    notice: dict[str, Any]
    health: SavedHealth
    limits: dict[str, Any]
    generations: tuple[SavedGeneration, ...]
    listeners: tuple[SavedListener, ...]
    channels: tuple[SavedChannel, ...]
    workers: tuple[SavedWorker, ...]
    last_serial: int
    boot_s: float
    adopted: tuple[tuple[int, float], ...]
    climbs: dict[str, dict[str, Any]]

    @property
    def descriptors(self) -> set[int]:
        """Everything that must stay open for this pool."""
        zygotes = [generation.zygotes.zygote for generation in self.generations]
        processes = [worker.process for worker in self.workers]
        processes += [zygote.process for zygote in zygotes if zygote is not None]
        return {
            self.board,
            *(listener.descriptor for listener in self.listeners),
            *(number for channel in self.channels for number in (channel.send, channel.receive)),
            *(number for number, _ in self.adopted),
            *(one.access_log for one in self.generations if one.access_log is not None),
            *(one.folder.descriptor for one in self.generations if one.folder is not None),
            *(worker.stacks for worker in self.workers if worker.stacks is not None),
            *(number for process in processes for number in process.descriptors),
        }


@dataclass(frozen=True, slots=True)
class SavedLatecomer:
    """A pool that could not be opened yet, and why."""

    name: str
    options: Texts
    reason: str


@dataclass(frozen=True, slots=True)
class SavedMaster:
    """The whole. `call` is the connection of the client that waits for the upgrade."""

    package_version: str
    config_path: str
    allow_root: bool
    daemonize: bool
    main: Texts
    started_s: float
    soft_file_limit: int
    reloads: int
    pools: tuple[SavedPool, ...]
    stopped: dict[str, Texts]
    deaths: dict[str, tuple[int | None, ...]]  # by pid: code, signal, user
    control: int
    call: int | None
    kept: tuple[int, ...] = ()  # descriptors that others than the pools hold on to
    late: tuple[SavedLatecomer, ...] = ()
    boot_version: int = BOOT_VERSION
    version: int = STATE_VERSION

    @property
    def descriptors(self) -> set[int]:
        """Everything that must stay open."""
        found = {number for pool in self.pools for number in pool.descriptors}
        found |= {self.control, *self.kept}
        return found if self.call is None else {*found, self.call}


def encode_state(saved: SavedMaster) -> bytes:
    """The state as bytes."""
    return json.dumps(asdict(saved)).encode()


def decode_state(data: bytes) -> SavedMaster:
    """The inverse of `encode_state`; PyfpmError where it is of another version, or broken."""
    try:
        values = json.loads(data)
        _check_version("its state", values["version"], _READ)
        _check_version("the messages of its workers", values["boot_version"], _READ_BOOT)
        return _build(SavedMaster, values)
    except (ValueError, KeyError, TypeError) as error:
        raise PyfpmError(f"the state of the running master is not understood: {error!r}") from error


def _check_version(what: str, version: int, known: tuple[int, ...]) -> None:
    if version not in known:
        ours = " and ".join(map(str, known))
        raise PyfpmError(
            f"the running master has {what} in version {version}, and the installed pyfpm reads"
            f" {ours}: stop the service and start it anew"
        )


T = TypeVar("T")


def _build(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass from what `asdict` and JSON have made of it."""
    hints = get_type_hints(kind)
    given = {}
    for one in fields(kind):  # type: ignore[arg-type]  # a dataclass, as all that is named here
        if one.name in values:
            given[one.name] = _restore(hints[one.name], values[one.name])
        elif one.default is MISSING:
            raise KeyError(f"{kind.__name__}.{one.name}")
    return kind(**given)


def _restore(hint: Any, value: Any) -> Any:
    """JSON's lists and objects back into tuples and dataclasses, as the annotation says."""
    if isinstance(hint, UnionType):
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not NoneType)
    if is_dataclass(hint):
        return _build(hint, value)  # type: ignore[arg-type]  # the class, not an instance
    match get_origin(hint), get_args(hint):
        case (origin, (of, *rest)) if origin is tuple and rest == [...]:
            return tuple(_restore(of, item) for item in value)
        case (origin, kinds) if origin is tuple:
            return tuple(_restore(of, item) for of, item in zip(kinds, value, strict=True))
        case (origin, (_, of)) if origin is dict:
            return {key: _restore(of, item) for key, item in value.items()}
    return value
