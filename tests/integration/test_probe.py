"""The try at an interpreter that `pyfpm check` makes as root; the file may be the pool user's."""

import os
import signal
from contextlib import suppress

from harness.processes import reaping

from pyfpm.config import load_text
from pyfpm.master.probe import probe_pools

SPY = """#!/bin/sh
read -r pid name state parent group session rest < /proc/self/stat
echo "session $session" >&2
exit 3
"""


# Ends, but a process of its own traces it, has its death first, and keeps it.
KEPT = """#!/usr/bin/python3
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long] * 4
PTRACE_SEIZE, PR_SET_PTRACER, ANYBODY = 0x4206, 0x59616D61, ctypes.c_ulong(-1)
libc.prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
me = os.getpid()
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    with open({tracer!r}, "w") as file:
        file.write(str(os.getpid()))
    os.write(writer, b"%d" % libc.ptrace(PTRACE_SEIZE, me, 0, 0))
    os.closerange(0, 64)
    time.sleep(30)
    os._exit(0)
traced = os.read(reader, 9) == b"0"
os._exit(3 if traced else 4)
"""
ENDS = "#!/bin/sh\nexit 3\n"


def config_of(folder, *lines):
    text = "\n".join(("[pyfpm]", "[pool:shop]", "app = hello:app", *lines))
    text += f"\ndirectory = {folder}\nlisten = {folder}/shop.sock\n"
    path = str(folder / "pyfpm.conf")
    return load_text(text, path, {}, is_root=True, allow_root=True, check_system=False)


def script(folder, text):
    made = folder / "interpreter"
    made.write_text(text)
    made.chmod(0o755)
    return made


def test_interpreter_that_is_tried_has_no_terminal_of_root(tmp_path):
    """Who shares root's session may open its terminal, read what is typed there and type more."""
    config = config_of(tmp_path, f"python = {script(tmp_path, SPY)}")
    (problem,) = probe_pools(config)
    (session,) = [word for word in problem.message.split() if word.isdecimal() and len(word) > 1]
    assert int(session) != os.getsid(0)


def test_interpreter_whose_death_is_kept_from_us_ends_no_check(tmp_path, as_root):
    """waitpid would wait until the tracer lets go, which is the tenant's to say."""
    tracer = tmp_path / "tracer"
    config = config_of(tmp_path, f"python = {script(tmp_path, KEPT.format(tracer=str(tracer)))}")
    with reaping():
        try:
            (problem,) = probe_pools(config, timeout_s=3)
        finally:
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int(tracer.read_text()), signal.SIGKILL)
    assert "did not end within 3 s when it was tried" in problem.message


def test_interpreter_that_ends_is_told_by_its_exit_code(tmp_path, as_root):
    """The twin: nobody keeps its death."""
    config = config_of(tmp_path, f"python = {script(tmp_path, ENDS)}")
    (problem,) = probe_pools(config, timeout_s=30)
    assert "(exit code 3)" in problem.message
