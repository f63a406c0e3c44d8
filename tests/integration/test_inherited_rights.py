"""What the master's own session carries and a change of user does not take away.

A login of root has a session keyring, and whatever inherits it possesses the keys in it, whoever
it has become since: tickets, keys of encrypted folders. And a master may be given capabilities to
pass on (systemd's AmbientCapabilities= and SecureBits=); they are for the master.
"""

import json
import shutil
import subprocess
import sys

import pytest
from harness.fcgi_client import fetch
from harness.machine import POOL_USER, find_pool_python
from harness.master import Pyfpm
from harness.processes import process_fields

# keyctl(2) as the C library does not know it: x86-64, and what most others share.
KEYS = """\
import ctypes, platform

LIBC = ctypes.CDLL(None, use_errno=True)
ADD, CONTROL = (248, 250) if platform.machine() == "x86_64" else (217, 219)
JOIN, SEARCH, READ = 1, 10, 11
SESSION = ctypes.c_int(-3)

def read_key():
    key = LIBC.syscall(CONTROL, SEARCH, SESSION, b"user", b"pyfpm-test", 0)
    text = ctypes.create_string_buffer(50)
    size = LIBC.syscall(CONTROL, READ, key, text, 50) if key >= 0 else -1
    return text.raw[:size].decode() if size > 0 else None
"""
WITH_KEY = f"""{KEYS}
import os, sys

assert LIBC.syscall(CONTROL, JOIN, None) >= 0, os.strerror(ctypes.get_errno())
assert LIBC.syscall(ADD, b"user", b"pyfpm-test", b"sesame", 6, SESSION) >= 0
os.execv(sys.argv[1], sys.argv[1:])
"""
APPLICATION = f"""{KEYS}
import json

FIELDS = ("CapInh", "CapPrm", "CapEff", "CapAmb")

def application(environ, start_response):
    with open("/proc/self/status") as file:
        found = dict(line.split(":", 1) for line in file)
    rights = {{field: int(found[field], 16) for field in FIELDS}}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({{"key": read_key(), "rights": rights}}).encode()]
"""
POOLS = """
[pool:walled]
app = inherited:application
listen = %(here)s/walled.sock
pm = static
pm.max_children = 1
preload = {preload}
"""
SETPRIV = shutil.which("setpriv") or "setpriv"
CAP_NET_RAW = 13
WITH_RIGHTS = (
    *(SETPRIV, "--securebits=+no_setuid_fixup"),
    *("--inh-caps=+net_raw", "--ambient-caps=+net_raw"),
)
NONE = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}

pytestmark = pytest.mark.usefixtures("as_root")


def start(preload, *launcher):
    pools = POOLS.format(preload=preload)
    return Pyfpm(pools, files={"inherited.py": APPLICATION}, launcher=launcher)


def ask(master):
    return json.loads(fetch(master.address("walled.sock")).body)


@pytest.fixture
def with_key():
    """Put a key into the session, and see that changing the user does not hide it."""
    launcher = (sys.executable, "-c", WITH_KEY)
    python = find_pool_python() or sys.executable
    become = (SETPRIV, f"--reuid={POOL_USER}", "--clear-groups")
    words = [*launcher, *become, python, "-c", f"{KEYS}\nprint(read_key())"]
    said = subprocess.run(words, check=False, capture_output=True, text=True)
    if said.stdout != "sesame\n":
        pytest.skip(f"no keys in this kernel or container: {said.stderr}")
    return launcher


@pytest.mark.parametrize("preload", ["on", "off"])
def test_keys_of_the_masters_session_are_out_of_reach_for_a_pool(with_key, preload):
    """The session of the one who started the master is not the tenant's."""
    with start(preload, *with_key) as master:
        assert ask(master)["key"] is None


@pytest.mark.parametrize("preload", ["on", "off"])
def test_capabilities_that_the_master_may_pass_on_end_with_it(preload):
    """Not even where the kernel was told to leave them when the user changes."""
    with start(preload, *WITH_RIGHTS) as master:
        fields = process_fields(master.process.pid)
        assert int(fields["CapAmb"], 16) >> CAP_NET_RAW & 1  # the master itself has it
        assert ask(master)["rights"] == NONE
