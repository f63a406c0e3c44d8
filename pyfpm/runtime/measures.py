"""What the access log says of a request that costs a system call: only formats that ask pay."""

import resource
import socket

from pyfpm.observe import Answer

_NS = 1_000_000_000
_UNIX = "-"


class Measures:
    """`begin` is called where a request begins, for %C; the others where it has ended."""

    def __init__(self) -> None:
        self._user_s = 0.0
        self._system_s = 0.0

    def begin(self) -> None:
        """Note the processor time so far."""
        self._user_s, self._system_s = _cpu_s()

    def cpu_percent(self, kind: str, duration_ns: int) -> float:
        """As PHP-FPM: that of this process and of children it has waited for, by the duration."""
        user_s, system_s = _cpu_s()
        used_s = 0.0
        if kind != "system":
            used_s += user_s - self._user_s
        if kind != "user":
            used_s += system_s - self._system_s
        return used_s * _NS * 100 / duration_ns if duration_ns > 0 else 0.0

    def peak_bytes(self) -> int:
        """The most memory that this process has been resident with; Linux counts KiB."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def peer(self, response: Answer) -> str:
        """The address at the other end; `-` for a Unix socket."""
        # Whatever the family is: said so that nobody asks the kernel for it. What comes back is of
        # the true one, and a tuple for the two that have addresses.
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=response.fd)
        try:
            name = sock.getpeername()
        finally:
            sock.detach()
        return str(name[0]) if isinstance(name, tuple) else _UNIX


def _cpu_s() -> tuple[float, float]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime
