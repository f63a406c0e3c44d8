"""Whose links are followed on a FUSE mount, where a server says who owns what."""

import subprocess
import sys

import pytest
from harness import fuse_links
from harness.fuse_links import NO_MOUNT, THEIRS
from harness.machine import REPOSITORY, temporary_folder

PROGRAM = """
import sys
from pyfpm.kernel.strangers import find_strangers_link
for name in ("roots", "theirs"):
    found = find_strangers_link(f"{sys.argv[1]}/{name}", {0})
    print(name, "is followed" if found is None else f"is a link of {found.owner}")
"""


@pytest.mark.parametrize(
    ("mounter", "of_root"), [(0, "is followed"), (THEIRS, f"is a link of {THEIRS}")]
)
def test_owners_are_believed_on_a_mount_of_root_alone(as_root, mounter, of_root):
    """A user could call any link root's; root's own mount tells the truth of a tenant's link."""
    with temporary_folder() as folder:
        program = [sys.executable, "-c", PROGRAM, str(folder)]
        server = [sys.executable, fuse_links.__file__, str(folder), str(mounter)]
        done = subprocess.run(
            ["unshare", "--mount", *server, *program],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == NO_MOUNT or "unshare" in done.stderr:
            pytest.skip("no FUSE mounts can be made here")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"roots {of_root}", f"theirs is a link of {THEIRS}"]
