"""A master of an ordinary user with every key that takes root: one notice each, and it serves."""

import os
import pwd
import re
import sys

import pytest
from harness.fcgi_client import fetch
from harness.machine import REPOSITORY, is_open_to_others
from harness.master import Pyfpm

pytestmark = pytest.mark.usefixtures("as_root")

MAIN = """\
process.priority = -5
rlimit_core = unlimited
rlimit_files = 900000000
control.owner = root
control.group = root
"""
POOL = """
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
listen.owner = root
listen.group = root
user = games
group = games
extra_groups = audio
chroot = /srv
process.priority = -3
process.oom_score_adj = -900
rlimit_files = 900000000
rlimit_core = unlimited
rlimit_as = unlimited
rlimit_nproc = 900000000
process.dumpable = {dumpable}
python = /usr/bin/python3
"""
# A key that the machine's own limits would grant is nothing that root was needed for.
LAUNCHER = [
    *("prlimit", "--core=0:0", "--nofile=512:1024", f"--as={4 << 30}:{4 << 30}"),
    *("--nproc=1000:1000", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
]
OF_POOL = [
    *("listen.owner", "listen.group", "user", "group", "extra_groups", "chroot"),
    *("process.priority", "process.oom_score_adj"),
    *("rlimit_files", "rlimit_core", "rlimit_as", "rlimit_nproc"),
]
OF_MASTER = ["process.priority", "rlimit_core", "rlimit_files", "control.owner", "control.group"]


def start(pool):
    nobody = pwd.getpwnam("nobody")
    return Pyfpm(
        pool,
        main=MAIN,
        defaults="user =\nprocess.dumpable = yes",
        launcher=LAUNCHER,
        prepare=lambda folder: os.chown(folder, nobody.pw_uid, nobody.pw_gid),
    )


@pytest.mark.parametrize("dumpable", ["yes", "no"])
def test_each_key_that_takes_root_has_one_notice_and_no_warning_besides(dumpable):
    """At start as with `check`, whether it is ignored or cut to what is allowed."""
    if not (is_open_to_others(REPOSITORY) and is_open_to_others(os.path.realpath(sys.executable))):
        pytest.skip("another user cannot run pyfpm from here")
    with start(POOL.format(dumpable=dumpable)) as fpm:
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
        text = fpm.log.text()
        told = re.findall(r"NOTICE: \S+:\d+: \[(\S+)\] (\S+): (?:is|has) ", text)
        assert sorted(told) == sorted(
            [("pyfpm", key) for key in OF_MASTER] + [("pool:shop", key) for key in OF_POOL]
        )
        assert "WARNING" not in text
