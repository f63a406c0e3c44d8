"""Whether workers may be forked from this process once the application is imported (DESIGN 1).

A fork copies memory and descriptors but only the calling thread. Two things that an import may
leave behind do not survive that: connections, which parent and children would then all talk on,
and threads, which are simply missing in the child together with whatever lock they held.
"""

import os
import socket
import stat
import threading
import time

_LEAVING_TRIES, _LEAVING_S = 40, 0.005

# Native thread pools that restart themselves after a fork, by the name of their library in
# /proc/self/maps. OpenBLAS and OpenMP runtimes register pthread_atfork handlers for this.
_FORK_SAFE_POOLS = {
    "openblas": "OpenBLAS shuts its pool down before a fork and restarts it on use",
    "libgomp": "libgomp starts a new pool in the child on use",
    "libiomp5": "the LLVM/Intel OpenMP runtime reinitialises itself in the child",
    "libomp": "the LLVM/Intel OpenMP runtime reinitialises itself in the child",
}


def find_fork_hazard(own_descriptors: frozenset[int]) -> str:
    """Why forking from here would break the application; empty if nothing speaks against it."""
    return _python_threads() or _connected_sockets(own_descriptors) or _native_threads()


def _python_threads() -> str:
    main = threading.main_thread()
    names = sorted(thread.name for thread in threading.enumerate() if thread is not main)
    return f"the import started threads: {', '.join(names)}" if names else ""


def _connected_sockets(own_descriptors: frozenset[int]) -> str:
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor not in own_descriptors:
            peer = _peer_of(descriptor)
            if peer is not None:
                return f"the import left a connection open: {peer or 'a socket pair'}"
    return ""


def _peer_of(descriptor: int) -> str | None:
    """The peer's address as text, or None where the descriptor is not a connected socket."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with socket.socket(fileno=os.dup(descriptor)) as candidate:
            peer = candidate.getpeername()
    except OSError:
        return None
    if isinstance(peer, tuple):
        return f"{peer[0]}:{peer[1]}"
    return peer.decode("utf-8", "replace") if isinstance(peer, bytes) else str(peer)


def _native_threads() -> str:
    if _is_alone():
        return ""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        mapped = maps.read()
    if any(library in mapped for library in _FORK_SAFE_POOLS):
        return ""
    # One that Python has joined may still be on its way out: joining waits for the end of its
    # Python code, and the kernel's part of it goes when the processor has time for that.
    for _ in range(_LEAVING_TRIES):
        time.sleep(_LEAVING_S)
        if _is_alone():
            return ""
    return "the import started native threads that pyfpm does not know to be fork-safe"


def _is_alone() -> bool:
    return len(os.listdir("/proc/self/task")) <= 1
