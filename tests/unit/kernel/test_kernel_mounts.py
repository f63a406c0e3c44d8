"""Whose a mount is, from the kernel's table of mounts."""

import os

import pytest

from pyfpm.kernel.mounts import find_mounter, parse_mounter

TABLE = b"""\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 22 0:51 / /home/a/far rw,nosuid,nodev - fuse.sshfs b:/ rw,user_id=1000,group_id=1000
41 22 0:52 / /srv/pool rw shared:1 - fuse.mergerfs a:b rw,user_id=0,group_id=0,allow_other
42 22 0:53 / /srv/not rw - ext4 fuse rw,user_id=7
43 22 0:511 / /home/c rw - fuse c rw,user_id=1001
"""


@pytest.mark.parametrize(
    ("minor", "user"), [(51, 1000), (52, None), (53, None), (511, 1001), (5, None)]
)
def test_user_of_a_fuse_mount_is_known(minor, user):
    """Of other mounts root alone decides, and so it does of its own: files there have owners."""
    assert parse_mounter(TABLE, os.makedev(0, minor)) == user


def test_mount_of_the_kernel_is_nobodys():
    """The table of this machine can be read."""
    assert find_mounter(os.stat("/proc").st_dev) is None
