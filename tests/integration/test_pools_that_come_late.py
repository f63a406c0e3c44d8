"""Somebody is in the way of one pool when the service starts: the others start, and it comes later.

A local user may hold a port, or put a file where a socket is to be; so may a process that an
earlier pool left behind.
"""

import os
import pwd
import socket
from contextlib import ExitStack, contextmanager, suppress

import pytest
from harness.fcgi_client import fetch
from harness.machine import POOL_USER, wait_until
from harness.master import Pyfpm

POOL = """
[pool:{name}]
app = hello:app
listen = {listen}
pm = static
pm.max_children = 1
"""
OTHER = POOL.format(name="other", listen="%(here)s/other.sock")
IN_THE_WAY = "another server answers there"


def late_pool(listen):
    return POOL.format(name="late", listen=listen)


LATE = late_pool("%(here)s/late.sock")


def is_well(fpm):
    return fpm.pool_status("late")["state"] == "running"


def boards_of(fpm, pool):
    """How many descriptors of scoreboards that it made for the pool the master holds."""
    folder = f"/proc/{fpm.process.pid}/fd"
    found = []
    for number in os.listdir(folder):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"{folder}/{number}"))
    return sum(f"memfd:pyfpm-board-{pool}" in target for target in found)


@contextmanager
def waiting(pools=LATE + OTHER, **options):
    """A master that runs, and whose pool `late` could not be opened; the call that frees it."""
    with socket.socket(socket.AF_UNIX) as left:

        def obstruct(folder):
            left.bind(str(folder / "late.sock"))
            left.listen()

        def free():
            left.close()

        with Pyfpm(pools, prepare=obstruct, **options) as fpm:
            assert fpm.pool_status("late")["state"] == "degraded"
            try:
                yield fpm, free
            finally:
                (fpm.folder / "late.sock").unlink(missing_ok=True)


def test_a_port_that_is_taken_harms_its_own_pool_alone():
    """The log has the line, status the reason; the pool comes when the port is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Pyfpm(late_pool(address) + OTHER) as fpm:
            assert fetch(fpm.address("other.sock")).status == 200
            reason = f"bind {address}: address already in use"
            assert fpm.log.find(
                rf"ERROR: .*next try in 1\.0 s: .*pyfpm\.conf:\d+: \[pool:late\] listen: {reason}"
            )
            status = fpm.pool_status("late")
            assert (status["state"], status["reason"]) == ("degraded", reason)
            assert fpm.pool_status("other")["state"] == "running"
            fpm.log.wait_for(rf"ERROR: .*next try in 2\.0 s: .*{reason}")
            taken.close()
            fpm.log.wait_for(r"NOTICE: .*pool late.* opened at last", timeout_s=30)
            wait_until(lambda: is_well(fpm))
            assert fetch(address).status == 200
            assert "reason" not in fpm.pool_status("late")


def test_a_process_that_answers_at_its_socket_harms_its_own_pool_alone():
    """Such as one that an earlier master left; the pool comes when it has ended."""
    with waiting() as (fpm, free):
        assert fetch(fpm.address("other.sock")).status == 200
        assert IN_THE_WAY in fpm.pool_status("late")["reason"]
        free()
        wait_until(lambda: is_well(fpm), timeout_s=30)
        assert fetch(fpm.address("late.sock")).status == 200


def test_a_file_in_the_way_of_a_socket_harms_its_own_pool_alone():
    """Another user has put it there: it is left alone, and the pool comes when it has gone."""

    def prepare(folder):
        (folder / "late.sock").write_text("")
        if os.geteuid() == 0:
            os.chown(folder / "late.sock", pwd.getpwnam(POOL_USER).pw_uid, -1)

    with Pyfpm(LATE + OTHER, prepare=prepare) as fpm:
        assert fetch(fpm.address("other.sock")).status == 200
        assert fpm.log.find(
            r"ERROR: .*\[pool:late\] listen: .*late\.sock is there and is no socket"
        )
        assert "a file that is no socket" in fpm.pool_status("late")["reason"]
        assert (fpm.folder / "late.sock").is_file()
        assert "[pool:late]" in fpm.command("reload").stderr
        checked = fpm.command("check")
        assert (checked.returncode, "[pool:late] listen: " in checked.stderr) == (78, True)
        (fpm.folder / "late.sock").unlink()
        wait_until(lambda: is_well(fpm), timeout_s=30)
        assert fetch(fpm.address("late.sock")).status == 200


def test_a_file_that_root_alone_can_have_put_there_is_a_mistake(as_root):
    """The administrator is told so at once, although the other pool could start."""
    with Pyfpm(
        LATE + OTHER, prepare=lambda folder: (folder / "late.sock").touch(), wait_ready=False
    ) as fpm:
        assert fpm.process.wait(20) == 78
        fpm.log.wait_for(r"\[pool:late\] listen: .*late\.sock is there and is no socket")


@pytest.mark.parametrize("option", ["access.log", "slowlog"])
def test_a_log_that_cannot_be_opened_harms_its_own_pool_alone(option):
    """Trying again and again costs no descriptors."""
    pools = f"{LATE}{option} = %(here)s/logs/late.log\n{OTHER}"

    def prepare(folder):
        (folder / "logs").mkdir()
        (folder / "logs" / "late.log").symlink_to("late.log")

    with Pyfpm(pools, prepare=prepare) as fpm:
        assert fpm.log.find(rf"ERROR: .*\[pool:late\] {option}: ")
        assert fetch(fpm.address("other.sock")).status == 200
        for _ in range(3):
            assert fpm.command("reload", "late").returncode == 1
        assert boards_of(fpm, "other") > 0
        assert boards_of(fpm, "late") == 0
        (fpm.folder / "logs" / "late.log").unlink()
        wait_until(lambda: is_well(fpm), timeout_s=30)
        assert fetch(fpm.address("late.sock")).status == 200


def test_nothing_starts_where_every_pool_is_blocked():
    """All of them are named, and the code is that of a configuration that cannot be used."""
    with ExitStack() as stack:
        addresses = {}
        for name in ("late", "other"):
            taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            addresses[name] = f"127.0.0.1:{taken.getsockname()[1]}"
        pools = "".join(POOL.format(name=name, listen=where) for name, where in addresses.items())
        with Pyfpm(pools, wait_ready=False) as fpm:
            assert fpm.process.wait(20) == 78
            fpm.log.wait_for_end()
            for name, where in addresses.items():
                assert f"[pool:{name}] listen: bind {where}: " in fpm.log.text()
            assert "next try" not in fpm.log.text()


def test_a_service_that_waits_for_a_pool_ends_when_told_to():
    """With 0, and what is in the pool's way is left alone."""
    with waiting() as (fpm, _):
        assert fpm.stop() == 0
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(fpm.folder / "late.sock"))


def test_reload_of_a_waiting_pool_tries_it_at_once():
    """It fails with the reason while that holds, and starts the pool afterwards."""
    with waiting() as (fpm, free):
        refused = fpm.command("reload", "late")
        assert refused.returncode == 1
        assert IN_THE_WAY in refused.stderr
        assert fpm.pool_status("late")["state"] == "degraded"
        free()
        assert fpm.command("reload").returncode == 0
        assert fetch(fpm.address("late.sock")).status == 200
        assert fpm.pool_status("late")["state"] == "running"


def test_reload_with_another_address_opens_a_waiting_pool():
    """What the file says now counts, and the old address is not tried any more."""
    with waiting() as (fpm, _):
        text = fpm.config.read_text()
        fpm.config.write_text(text.replace("late.sock", "moved.sock"))
        assert fpm.command("reload").returncode == 0
        assert fetch(fpm.address("moved.sock")).status == 200
        assert fpm.pool_status("late")["state"] == "running"


def test_waiting_pool_that_is_removed_is_forgotten():
    """It is in no status, and does not come when its way is free."""
    with waiting() as (fpm, free):
        text = fpm.config.read_text()
        assert LATE in text
        fpm.config.write_text(text.replace(LATE, ""))
        assert fpm.command("reload").returncode == 0
        assert list(fpm.status()["pools"]) == ["other"]
        free()
        mark = fpm.log.mark()
        fpm.config.write_text(text)
        assert fpm.command("reload").returncode == 0
        assert fetch(fpm.address("late.sock")).status == 200
        assert "opened at last" not in fpm.log.text(mark)


def test_waiting_pool_can_be_stopped_and_started():
    """Stopped it is not tried any more; `start-pool` tries it at once."""
    with waiting() as (fpm, free):
        failed = fpm.command("start-pool", "late")
        assert (failed.returncode, IN_THE_WAY in failed.stderr) == (1, True)
        assert fpm.command("stop", "late").returncode == 0
        assert fpm.pool_status("late")["state"] == "stopped"
        free()
        assert fpm.command("start-pool", "late").returncode == 0
        assert fetch(fpm.address("late.sock")).status == 200


def test_waiting_pool_says_why_it_obeys_no_command():
    """There are no workers that could be replaced or looked at."""
    with waiting() as (fpm, _):
        for words in (("restart", "late"), ("scale", "late", "2"), ("trace", "late")):
            refused = fpm.command(*words)
            assert refused.returncode == 1
            assert "pool late cannot be opened yet: bind " in refused.stderr
            assert IN_THE_WAY in refused.stderr


def test_waiting_pool_is_tried_again_after_an_upgrade():
    """The new code knows of it, and tries it again where the reload of the upgrade could not."""
    with waiting() as (fpm, free):
        upgraded = fpm.command("upgrade")
        assert upgraded.returncode == 1
        assert IN_THE_WAY in upgraded.stderr
        fpm.log.wait_for("runs in the place of")
        assert fpm.pool_status("late")["state"] == "degraded"
        assert fetch(fpm.address("other.sock")).status == 200
        free()
        wait_until(lambda: is_well(fpm), timeout_s=30)
        assert fetch(fpm.address("late.sock")).status == 200


def test_whoever_starts_the_service_is_told_which_pool_comes_late():
    """On the terminal too, where the log goes to a file."""
    with waiting(main="error_log = log") as (fpm, _):
        words = f"bind {fpm.folder}/late.sock: {IN_THE_WAY}"
        fpm.log.wait_for(rf"^pool late: {words}.*: it is tried again$")
        assert f"[pool:late] listen: {words}" in (fpm.folder / "log").read_text()
