"""`pyfpm check --sandbox POOL`: what the application of a pool could open, tried inside.

A child takes on the pool's identity and its sandbox, and opens what the application is likely to
open. That is all it does: nothing is created or changed, and no code of the pool runs. Execution
alone is not tried, since a program that can be executed would run; it is told from the rules.
"""

import json
import os
import select
import signal
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NoReturn

from pyfpm.config import Config, PoolOptions, Sandbox
from pyfpm.errors import PyfpmError, SpawnError
from pyfpm.kernel.landlock import Access, read_support
from pyfpm.kernel.pidfd import reap_within, send_signal
from pyfpm.kernel.prctl import set_no_new_privs
from pyfpm.master.candidates import OF_ENVIRONMENT, Candidate, find_candidates
from pyfpm.master.grants import SandboxError
from pyfpm.master.identity import Identity, apply_identity, environment_of, resolve_identity
from pyfpm.master.package import open_package
from pyfpm.master.places import Place
from pyfpm.master.sandbox import SandboxPlan, confine, places_of, plan_sandbox, survey_of

_TIMEOUT_S = 30.0
_DEATH_S = 1.0
_READ_BYTES = 65536
_LETTERS = {"r": Access.READ_FILE, "w": Access.WRITE_FILE, "x": Access.EXECUTE}
# A file without a name, which is gone when it is closed, is seen by nobody.
_FOLDER = (os.O_RDONLY | os.O_DIRECTORY, os.O_WRONLY | os.O_TMPFILE)
_FILE = (os.O_RDONLY, os.O_WRONLY)
_QUIETLY = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class Finding:
    """One path, in letters of r, w and x: what the application may want of it, and what works.

    `outside` is what works without the sandbox, where owners and modes alone decide.
    """

    path: str
    why: str
    wants: str
    outside: str
    inside: str

    @property
    def refused_by_modes(self) -> set[str]:
        """What the pool's user cannot have anyway."""
        return set(self.wants) - set(self.outside)

    @property
    def refused_by_sandbox(self) -> set[str]:
        """What the user could have."""
        return set(self.wants) & (set(self.outside) - set(self.inside))

    @property
    def loses_writing(self) -> bool:
        """Whether the user may only read, in the sandbox, what the environment names.

        A database, for example; what the application does with it, its environment does not say.
        """
        loses = {"w"} & (set(self.outside) - set(self.inside) - set(self.wants))
        return bool(loses) and "r" in self.inside and self.why.startswith(OF_ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it; `abi` is the kernel's, `user` whom it was tried as."""

    abi: int
    user: str
    findings: tuple[Finding, ...]


def try_sandbox(config: Config, options: PoolOptions, timeout_s: float = _TIMEOUT_S) -> Trial:
    """Try the sandbox of a pool, as `on` would have it where it has none.

    SandboxError where it cannot be entered, SpawnError where it cannot be tried.
    """
    identity = resolve_identity(options, is_root=os.geteuid() == 0)
    mode = Sandbox.ON if options.sandbox is Sandbox.OFF else options.sandbox
    plan = plan_sandbox(replace(options, sandbox=mode), "")
    assert plan is not None
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _be_child(writer, lambda: _find_out(config, options, identity, plan))
    os.close(writer)
    answer = _hear_out(pid, reader, timeout_s)
    if not answer:
        raise SpawnError(f"the trial of the sandbox did not end within {timeout_s:g} s")
    told = json.loads(answer)
    if isinstance(told, dict):
        raise SandboxError(**told)
    findings = tuple(Finding(**one) for one in told)
    return Trial(read_support().abi, identity.name, findings)


def _hear_out(pid: int, reader: int, timeout_s: float) -> bytes:
    """What the child writes until it closes the pipe; empty where that takes longer.

    The pool's user may stop it, or have mounted a FUSE server that never answers where it looks.
    What even SIGKILL does not end is left alone.
    """
    pidfd = os.pidfd_open(pid)
    try:
        return _read_within(reader, timeout_s)
    finally:
        os.close(reader)
        send_signal(pidfd, signal.SIGKILL)
        reap_within(pidfd, _DEATH_S)
        os.close(pidfd)


def _read_within(reader: int, timeout_s: float) -> bytes:
    deadline_s = time.monotonic() + timeout_s
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    answer = bytearray()
    while poller.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
        data = os.read(reader, _READ_BYTES)
        if not data:
            return bytes(answer)
        answer += data
    return b""


def _be_child(writer: int, work: Callable[[], list[Finding]]) -> NoReturn:
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):  # nobody is to wait for the end of output that it holds
            os.dup2(null, standard)
        answer: object
        try:
            answer = [asdict(finding) for finding in work()]
        except SandboxError as error:
            answer = {"key": error.key, "reason": error.reason}
        except (OSError, PyfpmError) as error:
            answer = {"key": "sandbox", "reason": str(error)}
        with os.fdopen(writer, "wb") as answers:
            answers.write(json.dumps(answer).encode())
    finally:
        os._exit(0)


def _find_out(
    config: Config, options: PoolOptions, identity: Identity, plan: SandboxPlan
) -> list[Finding]:
    """In the child."""
    package = open_package()
    apply_identity(identity, [package])
    set_no_new_privs()  # a pool without a sandbox may do without
    places = list(places_of(plan, survey_of(plan)))
    candidates = [Candidate(one.path, one.key or one.purpose, _wanted(one)) for one in places]
    candidates += find_candidates(config, options, environment_of(options, identity))
    candidates = [_nearest(one) for one in candidates]
    outside = {one.path: _rights(one.path, None) for one in candidates}
    confine(plan, package)
    found: dict[str, Finding] = {}
    for one in candidates:
        inside = _rights(one.path, places)
        finding = Finding(one.path, one.why, one.wants, outside[one.path], inside)
        known = found.get(one.path)
        # What lists a path says more than what else names it, and comes first.
        if known is None or (_is_refused(finding) and not _is_refused(known)):
            found[one.path] = finding
    return list(found.values())


def _is_refused(finding: Finding) -> bool:
    return bool(finding.refused_by_modes or finding.refused_by_sandbox)


def _wanted(place: Place) -> str:
    """What is listed has to work; of the built-in places the machine may have what it likes."""
    return "".join(x for x, right in _LETTERS.items() if place.access & right) if place.key else ""


def _nearest(candidate: Candidate) -> Candidate:
    """Itself, or the folder where it would be made."""
    path, why = candidate.path, candidate.why
    while not os.path.exists(path) and path != "/":
        path, why = os.path.dirname(path), f"{candidate.why}: {candidate.path} is not there yet"
    return replace(candidate, path=path, why=why)


def _rights(path: str, places: Sequence[Place] | None) -> str:
    """What works; `places` are those of the sandbox, None outside of it."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    reads, writes = _FOLDER if stat.S_ISDIR(mode) else _FILE
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
        rights = ("r" if _opens(path, reads) else "") + ("w" if _opens(path, writes) else "")
    else:  # opening a device or a pipe may do something: only the rights are asked
        asked = {"r": os.R_OK, "w": os.W_OK}
        rights = "".join(
            letter
            for letter, right in asked.items()
            if os.access(path, right) and _is_allowed(path, letter, places)
        )
    return rights + ("x" if os.access(path, os.X_OK) and _is_allowed(path, "x", places) else "")


def _opens(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags | _QUIETLY, 0o600))
    except OSError:
        return False
    return True


def _is_allowed(path: str, letter: str, places: Sequence[Place] | None) -> bool:
    """Whether a rule says so."""
    if places is None:
        return True
    real = os.path.join(os.path.realpath(path), "")
    allowed = (os.path.realpath(one.path) for one in places if one.access & _LETTERS[letter])
    return any(real.startswith(os.path.join(one, "")) for one in allowed)
