"""An older kernel, or the filter of a container, pretended to a program by seccomp(2).

What a kernel lacks answers ENOSYS, what a container's filter knows and refuses EPERM. For Landlock
a helper answers in the kernel's stead, as one of an earlier ABI would.
"""

import errno
import platform
import subprocess
import sys

import pytest

# The same on every architecture but alpha, save the last, which is as old as x86 and ARM differ.
SYSTEM_CALLS = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "memfd_create": {"x86_64": 319, "aarch64": 279}.get(platform.machine(), -1),
}
_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), -1)
_SETSOCKOPT = {"x86_64": 54, "aarch64": 208}.get(platform.machine(), -1)

# A filter: load the number, compare it with each in turn, and jump to what is to be answered.
_COMMON = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def install(program, flags):
    data = b"".join(struct.pack("=HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(data, len(data))
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    if os.geteuid() != 0:
        libc.prctl(38, 1, 0, 0, 0)
    result = libc.syscall(ctypes.c_long(SECCOMP), ctypes.c_long(1), ctypes.c_long(flags), header)
    if result < 0:
        sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
    return result
LOAD, IS, ANSWER = 0x20, 0x15, 0x06
ALLOW, ERROR, ASK = 0x7FFF0000, 0x00050000, 0x7FC00000
"""

_REFUSE = """
given, words = sys.argv[1], sys.argv[2:]
program = [(LOAD, 0, 0, 0)]
for one in given.split(","):
    number, error = map(int, one.split(":"))
    program += [(IS, 0, 1, number), (ANSWER, 0, 0, ERROR | error)]
install([*program, (ANSWER, 0, 0, ALLOW)], 0)
os.execvp(words[0], words)
"""

_WITHOUT_OPTION = """
call, option, error = map(int, sys.argv[1:4])
words = sys.argv[4:]
SECOND, THIRD = 24, 32  # the lower halves of these arguments
install([
    (LOAD, 0, 0, 0), (IS, 0, 5, call), (LOAD, 0, 0, SECOND), (IS, 0, 3, 1),
    (LOAD, 0, 0, THIRD), (IS, 0, 1, option), (ANSWER, 0, 0, ERROR | error), (ANSWER, 0, 0, ALLOW),
], 0)
os.execvp(words[0], words)
"""

# The helper is there before the filter is, so that it is not under it, and is nobody's child.
_LANDLOCK = """
import array, errno, fcntl, select, socket
abi, words = int(sys.argv[1]), sys.argv[2:]
here, there = socket.socketpair()
KNOWN = [(1 << bits) - 1 for bits in (0, 13, 14, 15, 15, 16, 16)]
RECEIVE, SEND = 0xC0502100, 0xC0182101
def answer(pid, attributes, size, flags):
    if flags == 1:
        return abi, 0, 0
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        given = os.pread(memory.fileno(), size, attributes)
    fields = struct.unpack("=QQQ", given.ljust(24, b"\\0")[:24])
    if fields[0] & ~KNOWN[abi]:
        return 0, -errno.EINVAL, 0
    if (fields[1] and abi < 4) or (fields[2] and abi < 6):
        return 0, -errno.E2BIG, 0
    return 0, 0, 1
if os.fork() == 0:
    if os.fork():
        os._exit(0)
    here.close()
    os.setsid()
    os.chdir("/")
    _, found, _, _ = there.recvmsg(1, 64)
    there.close()
    listener = array.array("i", found[0][2])[0]
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    while all(not events & select.POLLHUP for _, events in poller.poll()):
        try:
            asked = bytearray(80)
            fcntl.ioctl(listener, RECEIVE, asked)
            number, pid = struct.unpack_from("=QI", asked)
            arguments = struct.unpack_from("=6Q", asked, 32)
            reply = struct.pack("=Qqii", number, *answer(pid, *arguments[:3]))
            fcntl.ioctl(listener, SEND, bytearray(reply))
        except OSError:
            pass
    os._exit(0)
os.wait()
there.close()
NEW_LISTENER = 8
program = [(LOAD, 0, 0, 0), (IS, 0, 1, 444), (ANSWER, 0, 0, ASK), (ANSWER, 0, 0, ALLOW)]
listener = install(program, NEW_LISTENER)
here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
os.close(listener)
here.close()
os.execvp(words[0], words)
"""


def refusing(error: int, *names: str) -> list[str]:
    """Words before a command that have these system calls fail for it and all that it starts."""
    given = ",".join(f"{SYSTEM_CALLS[name]}:{error}" for name in names)
    return [sys.executable, "-c", f"SECCOMP = {_SECCOMP}\n{_COMMON}{_REFUSE}", given]


def without_socket_option(option: int) -> list[str]:
    """Words before a command whose sockets do not know this option of SOL_SOCKET."""
    numbers = [str(number) for number in (_SETSOCKOPT, option, errno.ENOPROTOOPT)]
    return [sys.executable, "-c", f"SECCOMP = {_SECCOMP}\n{_COMMON}{_WITHOUT_OPTION}", *numbers]


def landlock_of(abi: int) -> list[str]:
    """Words before a command that give it a Landlock of this ABI, 1 to 6."""
    return [sys.executable, "-c", f"SECCOMP = {_SECCOMP}\n{_COMMON}{_LANDLOCK}", str(abi)]


def need_seccomp() -> None:
    """Skip where system calls cannot be filtered."""
    if _SECCOMP < 0:
        pytest.skip(f"the numbers of system calls are not known for {platform.machine()}")
    tried = [*refusing(errno.ENOSYS, "open_tree"), "true"]
    if subprocess.run(tried, capture_output=True, check=False, cwd="/").returncode:
        pytest.skip("no seccomp filters here")
