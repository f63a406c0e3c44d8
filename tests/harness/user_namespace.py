"""A user namespace around a program, as a container without root has one."""

import shutil
import subprocess
import sys

import pytest
from harness.machine import IS_ROOT, is_usable_by_others

# The maps are written from outside, by a child that does nothing else: so the program itself keeps
# its pid, and signals reach it.
_LAUNCH = """
import ctypes, os, sys
ids, words = sys.argv[1], sys.argv[2:]
ready, go = os.pipe()
if os.fork() == 0:
    os.close(go)
    os.read(ready, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{os.getppid()}/{name}", "w") as file:
            file.write(ids)
    os._exit(0)
CLONE_NEWUSER = 0x10000000
if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
    sys.exit("no user namespace")
os.close(go)
if os.wait()[1] != 0:
    sys.exit("no map of users")
os.setgroups([])
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
os.execvp(words[0], words)
"""


def launcher(*ranges: tuple[int, int, int]) -> list[str]:
    """Words before a command that run it as root of a user namespace.

    Each range is its first number inside, the first outside, and how many; users and groups alike.
    """
    ids = "\n".join(" ".join(map(str, one)) for one in ranges) + "\n"
    return [sys.executable, "-c", _LAUNCH, ids]


def need_user_namespaces() -> None:
    """Skip where none can be made, or where no other user could run pyfpm."""
    if not IS_ROOT:
        pytest.skip("writes the map of a user namespace, as root")
    tried = [*launcher((0, 100000, 65536)), shutil.which("true") or "true"]
    if subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    if not is_usable_by_others():
        pytest.skip("another user cannot run pyfpm from here")
