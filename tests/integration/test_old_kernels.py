"""Kernels that lack something, and containers whose filter of system calls refuses it."""

import errno
import json
import os
import subprocess
import sys

import pytest
from harness.fcgi_client import fetch
from harness.machine import temporary_folder, wait_until
from harness.master import Pyfpm, environment
from harness.old_kernel import landlock_of, need_seccomp, refusing
from harness.processes import children_of, title_of

from pyfpm.kernel.landlock import read_support

PROBE = """\
import json, os
def attempt(action):
    try:
        return action() and "done" or "done"
    except OSError as error:
        return error.strerror
def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps([
        attempt(lambda: open("/etc/passwd").close()),
        attempt(lambda: os.truncate(os.environ["VICTIM"], 0)),
    ]).encode()]
"""
PLAIN = """
[pool:plain]
app = probe:app
listen = %(here)s/plain.sock
environment = VICTIM="%(here)s/victim"
"""
STRICT = PLAIN.replace("plain", "strict") + "sandbox = on\n"
BEST = PLAIN.replace("plain", "best") + "sandbox = best-effort\n"
OPEN, CLOSED = "done", "Permission denied"
WITHOUT = {
    errno.ENOSYS: "it has no Landlock (Linux 5.13), or a container's filter of system calls does",
    errno.EOPNOTSUPP: "it was booted without Landlock: add landlock to lsm= on its command line",
    errno.EPERM: "a filter of system calls refuses Landlock: have the container's seccomp profile",
}
LAST, TRUNCATE = "abstract Unix sockets of other processes (Linux 6.12)", "truncating files"


@pytest.fixture(autouse=True, scope="module")
def seccomp():
    need_seccomp()


def prepare(folder):
    (folder / "victim").write_text("content")
    (folder / "victim").chmod(0o666)


def attempts(fpm, pool):
    return json.loads(fetch(fpm.address(f"{pool}.sock"), "/").body)


def run_below(launcher, folder, *arguments):
    """One command of the command line, below the same filter."""
    return subprocess.run(
        [*launcher, sys.executable, "-m", "pyfpm", "-c", folder / "pyfpm.conf", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        env=environment(),
    )


def assert_sandboxes(launcher, lack, *, best):
    """With `on` the pool alone does not boot, with `best-effort` it goes as far as the kernel."""
    pools = STRICT + BEST + PLAIN
    with Pyfpm(pools, launcher=launcher, files={"probe.py": PROBE}, prepare=prepare) as fpm:
        assert fpm.log.find(rf"ALERT: \[pool strict\] boot failed.* does not restrict .*{lack}")
        assert fpm.log.find(rf"NOTICE: .*\[pool:best\] sandbox: .*{lack}")
        assert fpm.pool_status("strict")["state"] == "degraded"
        assert attempts(fpm, "best") == best
        assert attempts(fpm, "plain") == [OPEN, OPEN]
        done = run_below(launcher, fpm.folder, "check", "--sandbox", "strict")
        assert done.returncode == 78
        assert "[pool:strict] sandbox: this kernel (Landlock ABI " in done.stderr
        assert "set sandbox = best-effort to go without" in done.stderr
        fpm.config.write_text(fpm.config.read_text().replace("sandbox = on", "sandbox = off"))
        done = run_below(launcher, fpm.folder, "check", "--sandbox", "best")
        assert done.returncode == 0, done.stderr
        assert "sandbox = best-effort" in done.stdout


@pytest.mark.parametrize("error", WITHOUT, ids=errno.errorcode.get)
def test_kernel_without_landlock_says_why_it_has_none(error):
    """An old kernel, one that was booted without it, and a container are mended differently."""
    launcher = refusing(error, "landlock_create_ruleset")
    lack = WITHOUT[error].replace("(", r"\(").replace(")", r"\)")
    assert_sandboxes(launcher, lack, best=[OPEN, OPEN])


@pytest.mark.parametrize(("abi", "truncates"), [(1, OPEN), (3, CLOSED), (5, CLOSED)])
def test_kernel_with_an_older_landlock_enforces_what_it_knows(abi, truncates):
    """Rights that it does not know are not named to it, or it would refuse all of them."""
    if read_support().abi < abi:
        pytest.skip(f"this kernel has no Landlock ABI {abi}")
    lack = LAST.replace("(", r"\(").replace(")", r"\)")
    lack = (TRUNCATE if truncates is OPEN else "") + ".*" + lack
    assert_sandboxes(landlock_of(abi), lack, best=[CLOSED, truncates])


def test_first_landlock_with_all_walls_is_enough_for_on():
    """ABI 6: the same pools, and all of them boot."""
    if read_support().abi < 6:
        pytest.skip("this kernel has no Landlock ABI 6")
    with Pyfpm(
        STRICT + BEST, launcher=landlock_of(6), files={"probe.py": PROBE}, prepare=prepare
    ) as fpm:
        for pool in ("strict", "best"):
            assert attempts(fpm, pool) == [CLOSED, CLOSED]
        assert not fpm.log.find("does not restrict")


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("pidfd_open", "pidfd_open: {}: pyfpm does not work without it; it takes Linux 5.3"),
        ("pidfd_send_signal", "pidfd_send_signal: {}: pyfpm does not work without it"),
        ("memfd_create", "memfd_create with seals: {}: pyfpm does not work without it"),
    ],
)
def test_system_call_that_the_master_needs_is_named_before_anything_is_made(call, said, error):
    """By `start` and by `check`: no pid file, no socket, no traceback."""
    said = said.format(os.strerror(error))
    with temporary_folder() as folder:
        (folder / "probe.py").write_text(PROBE)
        head = f"[pyfpm]\npid = {folder}/p.pid\ncontrol = {folder}/c.sock\n"
        user = "user = nobody\n" if os.getuid() == 0 else ""
        (folder / "pyfpm.conf").write_text(f"{head}{PLAIN}{user}python = /usr/bin/python3\n")
        before = sorted(folder.iterdir())
        for command in ("check", "start"):
            done = run_below(refusing(error, call), folder, command)
            assert (done.returncode, done.stdout) == (1, "")
            assert f"pyfpm: {command}: {said}" in done.stderr
            assert "seccomp profile that allows it" in done.stderr
        assert sorted(folder.iterdir()) == before
        assert run_below([], folder, "check").returncode == 0


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_system_calls_that_the_master_can_do_without_are_not_missed(error):
    """Those of newer C libraries, and the mount around the folder of pyfpm."""
    calls = ("clone3", "close_range", "open_tree", "mount_setattr")
    with Pyfpm(
        PLAIN + STRICT, launcher=refusing(error, *calls), files={"probe.py": PROBE}, prepare=prepare
    ) as fpm:
        assert attempts(fpm, "plain") == [OPEN, OPEN]
        assert fpm.command("reload").returncode == 0
        if read_support().abi >= 6:
            assert attempts(fpm, "strict") == [CLOSED, CLOSED]
        assert fpm.command("stop", "plain").returncode == 0
        # Nor do the children that close what it had try every number there is.
        wait_until(lambda: "pyfpm: master" not in map(title_of, children_of(fpm.process.pid)))
