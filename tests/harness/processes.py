"""Facts about processes as the kernel tells them, and waiting for their ends."""

import contextlib
import os
import select
import time
from collections.abc import Iterable, Iterator

import psutil
from harness.machine import wait_until

# linux/capability.h
CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_RESOURCE = 19, 21, 23, 24


@contextlib.contextmanager
def watching(*pids: int) -> Iterator["Ends"]:
    """Watch processes from now on, so that a reused pid cannot be taken for one of them."""
    descriptors = {pid: os.pidfd_open(pid) for pid in pids}
    try:
        yield Ends(descriptors)
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


class Ends:
    """The ends of watched processes."""

    def __init__(self, descriptors: dict[int, int]) -> None:
        self._descriptors = descriptors

    def wait(self, timeout_s: float = 10, pids: Iterable[int] | None = None) -> None:
        """Block until these (all) have ended; AssertionError naming those that live on."""
        deadline = time.monotonic() + timeout_s
        left = {self._descriptors[pid]: pid for pid in pids or self._descriptors}
        while left:
            poller = select.poll()
            for descriptor in left:
                poller.register(descriptor, select.POLLIN)
            ready = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
            assert ready, f"still running after {timeout_s} s: {sorted(left.values())}"
            for descriptor, _ in ready:
                del left[descriptor]

    def ended(self) -> set[int]:
        """Return who has ended by now."""
        ended = set()
        for pid, descriptor in self._descriptors.items():
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            if poller.poll(0):
                ended.add(pid)
        return ended


def process_fields(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def has_capability(number: int) -> bool:
    """Tell whether this process has a capability; root in a container lacks some."""
    return bool(int(process_fields(os.getpid())["CapEff"], 16) >> number & 1)


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's living children; one that has ended has none."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


@contextlib.contextmanager
def reaping() -> Iterator[None]:
    """Reap, at the end, those children of this process that came meanwhile."""
    before = set(children_of(os.getpid()))
    yield
    for pid in set(children_of(os.getpid())) - before:
        wait_until(lambda pid=pid: os.waitpid(pid, os.WNOHANG)[0])


def title_of(pid: int) -> str:
    """Return what ps shows; empty for a process that has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descriptor_links(pid: int) -> dict[int, str]:
    """Return what a process's descriptors are; one that is closed meanwhile is left out."""
    links = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return links


def count_descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_time_s(pid: int, over_s: float) -> float:
    """Return the CPU seconds that a process uses while this much time passes."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    time.sleep(over_s)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


def busy_share(pid: int, over_s: float) -> float:
    """Return which part of one core a process uses for so long."""
    began_s = time.monotonic()
    used_s = cpu_time_s(pid, over_s)
    return used_s / (time.monotonic() - began_s)
