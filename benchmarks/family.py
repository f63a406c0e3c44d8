"""What a responder uses: its first process and everything below it.

Times and sizes are the kernel's own. The web server and the load do not count.
"""

from pathlib import Path

import psutil


class Family:
    """A process and all its descendants, looked at anew each time."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def processes(self) -> list[psutil.Process]:
        first = psutil.Process(self.pid)
        return [first, *first.children(recursive=True)]

    def cpu_s(self) -> float:
        """utime + stime so far."""
        return sum(cpu_s(one.pid) for one in self.processes())

    def pss_bytes(self) -> int:
        """Memory that counts each shared page once, divided among those that share it."""
        return sum(rollup_bytes(one.pid, "Pss") for one in self.processes())

    def first_pss_bytes(self) -> int:
        """What of that is the first process's."""
        return rollup_bytes(self.pid, "Pss")

    def count(self) -> int:
        return len(self.processes())

    def reset_peaks(self) -> dict[int, int]:
        """Forget the peaks so far; return the resident bytes of each process."""
        sizes = {}
        for one in self.processes():
            Path(f"/proc/{one.pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM
            sizes[one.pid] = status_bytes(one.pid, "VmRSS")
        return sizes

    def growth_bytes(self, before: dict[int, int]) -> int:
        """By how much the process that grew most was ever larger than `before`."""
        return max(status_bytes(pid, "VmHWM") - size for pid, size in before.items())


def cpu_s(pid: int) -> float:
    try:
        return sum(psutil.Process(pid).cpu_times()[:2])
    except psutil.NoSuchProcess:
        return 0.0


def rollup_bytes(pid: int, name: str) -> int:
    """A line of /proc/PID/smaps_rollup; 0 for a process that has ended."""
    return read_kib(f"/proc/{pid}/smaps_rollup", name)


def status_bytes(pid: int, name: str) -> int:
    """A line of /proc/PID/status; 0 for a process that has ended."""
    return read_kib(f"/proc/{pid}/status", name)


def read_kib(path: str, name: str) -> int:
    try:
        lines = Path(path).read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in lines:
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
