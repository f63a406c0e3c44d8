"""A configuration on a mount that nobody can write, as a container has it."""

import subprocess
import sys

import pytest
from harness.machine import POOL_USER, find_pool_python, temporary_folder
from harness.master import environment

MOUNTED = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
POOL = """\
[pyfpm]
control = {0}/c.sock
[pool:a]
app = hello:app
listen = {0}/a.sock
directory = /usr
user = {1}
{2}
"""


def check(folder, *launcher):
    words = [sys.executable, "-m", "pyfpm", "-c", str(folder / "conf/pyfpm.conf"), "check"]
    return subprocess.run(
        [*launcher, *words], capture_output=True, text=True, check=False, env=environment()
    )


def test_modes_of_a_read_only_mount_are_nobodys_rights(as_root):
    """A folder of mode 0777 and a file of mode 0666 are no danger there; elsewhere they are."""
    python = find_pool_python()
    with temporary_folder() as folder:
        conf = folder / "conf"
        conf.mkdir()
        file = conf / "pyfpm.conf"
        file.write_text(POOL.format(folder, POOL_USER, f"python = {python}" if python else ""))
        conf.chmod(0o777)
        read_only = ["unshare", "--mount", "sh", "-c", MOUNTED, str(conf)]
        done = check(folder, *read_only)
        if "unshare" in done.stderr or "mount:" in done.stderr:
            pytest.skip("no mounts can be made here (CAP_SYS_ADMIN)")
        assert (done.returncode, done.stderr) == (0, "")
        done = check(folder)
        assert done.returncode == 0
        assert "everybody can put another file in its place (mode 0777" in done.stderr
        file.chmod(0o666)
        assert check(folder).returncode == 78
        assert check(folder, *read_only).returncode == 0
