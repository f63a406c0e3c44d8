"""What an import may leave behind that a fork would break, looked for in fresh interpreters."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def hazard_after(code, *, own=()):
    """Run `code` as an import would and return what stands in the way of forking."""
    script = (
        "import os, socket, sys, threading, time\n"
        "from pyfpm.runtime.preload import find_fork_hazard\n"
        f"own = set({list(own)!r}) | {{0, 1, 2}}\n"
        f"{code}\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "print(find_fork_hazard(frozenset(own)))\n"
        "assert len(os.listdir('/proc/self/fd')) == before, 'the look left a descriptor'\n"
        "sys.stdout.flush(); os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "",
        "file = open('/dev/null'); pipe = os.pipe(); event = os.eventfd(0)",
        "listener = socket.create_server(('127.0.0.1', 0))",
        "unused = socket.socket(); datagrams = socket.socket(type=socket.SOCK_DGRAM)",
        "thread = threading.Thread(target=print, args=['']); thread.start(); thread.join()",
        "pair = socket.socketpair(); pair[0].close(); pair[1].close()",
    ],
    ids=["clean", "files", "listener", "unconnected", "ended thread", "closed pair"],
)
def test_harmless_leftovers_are_no_hazard(code):
    """Most applications may be preloaded; a false alarm costs their shared memory."""
    assert hazard_after(code) == ""


def test_native_thread_on_its_way_out_is_waited_for():
    """A joined thread may be in the kernel's list a moment longer than in Python's."""
    code = (
        "import ctypes\n"
        "c, thread = ctypes.CDLL(None), ctypes.c_ulong()\n"
        "c.pthread_create(ctypes.byref(thread), None, c.usleep, ctypes.c_void_p(50_000))"
    )
    assert hazard_after(code) == ""
    assert "native threads" in hazard_after(code.replace("50_000", "5_000_000"))


def test_thread_is_a_hazard_with_its_name():
    """It would be missing in every worker, with whatever lock it held."""
    code = "threading.Thread(target=time.sleep, args=[60], name='metrics', daemon=True).start()"
    assert hazard_after(code) == "the import started threads: metrics"


def test_tcp_connection_is_a_hazard_with_its_peer():
    """All workers would talk on the same database connection."""
    code = (
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "link = socket.create_connection(listener.getsockname())\n"
        "print(listener.getsockname()[1])\n"
    )
    port, said = hazard_after(code).splitlines()
    assert said == f"the import left a connection open: 127.0.0.1:{port}"


def test_unix_connection_is_a_hazard_with_its_path(tmp_path):
    """The path says which library it was."""
    code = (
        "listener = socket.socket(socket.AF_UNIX)\n"
        f"listener.bind({str(tmp_path / 'db.sock')!r}); listener.listen()\n"
        "link = socket.socket(socket.AF_UNIX)\n"
        "link.connect(listener.getsockname())\n"
    )
    assert hazard_after(code) == f"the import left a connection open: {tmp_path / 'db.sock'}"


def test_socket_pair_is_a_hazard():
    """An event loop made at import has one."""
    assert hazard_after("pair = socket.socketpair()") == (
        "the import left a connection open: a socket pair"
    )


def test_event_loop_made_at_import_is_a_hazard():
    """Its wake-up pair would be shared by all workers."""
    assert "a socket pair" in hazard_after("import asyncio; loop = asyncio.new_event_loop()")


def test_descriptors_of_our_own_are_no_hazard():
    """The zygote has a control socket, which is a connection."""
    code = "pair = socket.socketpair(); own |= {end.fileno() for end in pair}"
    assert hazard_after(code) == ""


def test_native_thread_is_a_hazard():
    """A thread that Python does not know is seen in /proc."""
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "thread = ctypes.c_ulong()\n"
        "pause = ctypes.cast(libc.pause, ctypes.c_void_p)\n"
        "assert libc.pthread_create(ctypes.byref(thread), None, pause, None) == 0\n"
    )
    assert "native threads" in hazard_after(code)
