"""The applications on both sides of a wall: a tenant with secrets, and one that is after them.

Every attempt is made from inside a real worker. It returns what it got, or the name of the errno.
"""

APPLICATION = '''\
"""Answers /about with what an attacker would like to know, and /try with what an attempt gave."""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sqlite3
from urllib.parse import parse_qs

libc = ctypes.CDLL(None, use_errno=True)
SECRET = b"memory-of-" + os.environ["POOL"].encode()
KEPT = ctypes.create_string_buffer(SECRET, 64)
PTRACE_SEIZE, PIDFD_GETFD = 0x4206, 438


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def read(path):
    with open(path, "rb") as file:
        return file.read(4096).decode("latin-1")


def read_mem(pid, address):
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return os.pread(descriptor, 32, address).decode("latin-1")
    finally:
        os.close(descriptor)


def write_mem(pid, address):
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    try:
        return str(os.pwrite(descriptor, os.pread(descriptor, 32, address), address))
    finally:
        os.close(descriptor)


def read_vm(pid, address):
    buffer = ctypes.create_string_buffer(32)
    ours = Vector(ctypes.addressof(buffer), 32)
    theirs = Vector(address, 32)
    checked(libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0))
    return buffer.raw.decode("latin-1")


def trace(pid):
    """In a child, with which the tracing ends."""
    child = os.fork()
    if child == 0:
        result = libc.ptrace(PTRACE_SEIZE, pid, None, None)
        os._exit(0 if result == 0 else ctypes.get_errno())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))
    return "traced"


def open_descriptor(pid, number):
    """The scoreboard and its like, by the link in /proc."""
    descriptor = os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR)
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def steal_descriptor(pid, number):
    """The listener and its like, by pidfd_getfd."""
    pidfd = os.pidfd_open(pid)
    try:
        stolen = checked(libc.syscall(PIDFD_GETFD, pidfd, number, 0))
    finally:
        os.close(pidfd)
    try:
        return os.readlink(f"/proc/self/fd/{stolen}")
    finally:
        os.close(stolen)


def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return "connected"


def send_by_pidfd(pid):
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGURG)
    finally:
        os.close(pidfd)
    return "sent"


def replace(path):
    """A file of ours under the name of the socket."""
    os.rename(path, path + ".old")
    os.rename(path + ".old", path)
    return "renamed"


ATTEMPTS = {
    "environ": lambda pid, **_: read(f"/proc/{pid}/environ"),
    "maps": lambda pid, **_: read(f"/proc/{pid}/maps"),
    "cwd": lambda pid, **_: os.readlink(f"/proc/{pid}/cwd"),
    "root": lambda pid, **_: os.readlink(f"/proc/{pid}/root"),
    "descriptors": lambda pid, **_: " ".join(os.listdir(f"/proc/{pid}/fd")),
    "scoreboard": lambda pid, **_: open_descriptor(pid, 6),
    "notice": lambda pid, **_: open_descriptor(pid, 7),
    "memory": lambda pid, address, **_: read_mem(pid, address),
    "memory written": lambda pid, address, **_: write_mem(pid, address),
    "process_vm_readv": lambda pid, address, **_: read_vm(pid, address),
    "ptrace": lambda pid, **_: trace(pid),
    "listener": lambda pid, **_: steal_descriptor(pid, 10),
    "scoreboard stolen": lambda pid, **_: steal_descriptor(pid, 6),
    "kill": lambda pid, **_: os.kill(pid, signal.SIGURG) or "sent",
    "pidfd_send_signal": lambda pid, **_: send_by_pidfd(pid),
    "prlimit": lambda pid, **_: str(resource.prlimit(pid, resource.RLIMIT_NOFILE)),
    "affinity": lambda pid, **_: os.sched_setaffinity(pid, os.sched_getaffinity(pid)) or "set",
    "read": lambda path, **_: read(path),
    "write": lambda path, **_: os.close(os.open(path, os.O_WRONLY | os.O_APPEND)) or "opened",
    "list": lambda path, **_: " ".join(os.listdir(path)),
    "connect": lambda path, **_: connect(path),
    "replace": lambda path, **_: replace(path),
}


def attempt(name, pid=0, address=0, path=""):
    try:
        return {"got": ATTEMPTS[name](pid=pid, address=address, path=path)}
    except OSError as error:
        return {"refused": errno.errorcode.get(error.errno, str(error))}


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] == "/about":
        return [json.dumps({"pid": os.getpid(), "address": ctypes.addressof(KEPT)}).encode()]
    wanted = json.loads(parse_qs(environ["QUERY_STRING"])["do"][0])
    return [json.dumps(attempt(**wanted)).encode()]
'''
