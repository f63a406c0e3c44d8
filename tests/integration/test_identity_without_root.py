"""A master of an ordinary user with every key that takes root: one notice each, and it serves."""

import os
import pwd
import re
import resource

import pytest
from harness.fcgi_client import fetch
from harness.machine import is_usable_by_others, temporary_folder
from harness.master import Pyfpm, run_pyfpm

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
    if not is_usable_by_others():
        pytest.skip("another user cannot run pyfpm from here")
    with start(POOL.format(dumpable=dumpable)) as fpm:
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
        text = fpm.log.text()
        told = re.findall(r"NOTICE: \S+:\d+: \[(\S+)\] (\S+): (?:is|has) ", text)
        assert sorted(told) == sorted(
            [("pyfpm", key) for key in OF_MASTER] + [("pool:shop", key) for key in OF_POOL]
        )
        assert "WARNING" not in text


def run_as_nobody(*arguments):
    """One command of the command line, as a user that is not root."""

    def become_nobody():
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)

    return run_pyfpm(*arguments, preexec_fn=become_nobody)


def test_check_without_root_has_one_notice_for_each_key_that_needs_it():
    """What only root may do is said once each; what takes away needs no word."""
    if not is_usable_by_others():
        pytest.skip("another user cannot run pyfpm from here")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with temporary_folder() as folder:
        config = folder / "pyfpm.conf"
        config.write_text(
            f"[pyfpm]\ncontrol = {folder}/c.sock\nprocess.priority = -1\n"
            f"[pool:a]\napp = a:b\nlisten = {folder}/a.sock\n"
            "user = games\ngroup = games\nextra_groups = audio\nchroot = /srv\n"
            f"process.priority = -5\nprocess.oom_score_adj = -5\nrlimit_files = {hard + 1}\n"
            "rlimit_core = 0\numask = 077\nprocess.cpu_affinity = 0\n"
        )
        done = run_as_nobody("-c", config, "check")
        assert done.returncode == 0, done.stderr
        notices = [line.partition(".conf:")[2] for line in done.stderr.splitlines()]
        assert [re.sub(r"\(-?\d+\)", "(N)", line) for line in notices] == [
            (
                "3: [pyfpm] process.priority: is ignored, since only root may go below the master's"
                " own (N)"
            ),
            "7: [pool:a] user: is ignored, since the master is not root",
            "8: [pool:a] group: is ignored, since the master is not root",
            "9: [pool:a] extra_groups: is ignored, since the master is not root",
            "10: [pool:a] chroot: is ignored, since the master is not root",
            (
                "11: [pool:a] process.priority: is ignored, since only root may go below the"
                " master's own (N)"
            ),
            (
                "12: [pool:a] process.oom_score_adj: is ignored, since only root may go below the"
                " master's own (N)"
            ),
            (
                f"13: [pool:a] rlimit_files: is {hard} instead, since only root may raise the hard"
                " limit"
            ),
        ]
