"""Rotation, reload and upgrade under load: every line of the access log is in one file, whole."""

import os
import signal

from harness.access_log import lines_of, start, wait_for_lines
from harness.fcgi_client import fetch, make_params
from harness.machine import wait_until
from harness.named_requests import NamedRequests

from pyfpm.fastcgi import encode_request

ROTATIONS = 20


def make_load(fpm):
    """Start clients; every fourth URI is so long that its line is a few pages."""

    def name(thread, number):
        return f"{thread}.{number}." + str(thread) * (0 if number % 4 else 9000)

    return NamedRequests(fpm, "web.sock", b"torture\n", name, threads=4)


def check_lines(load, *files):
    """Each request has exactly one line in exactly one file, and no line is anything else."""
    wait_until(lambda: len(lines_of(*files)) >= len(load.sent))
    assert sorted(lines_of(*files)) == sorted(f"GET /?{name} 200 8" for name in load.sent)


def test_no_line_is_lost_while_the_log_is_rotated_under_load():
    """By command and by signal, each line is in one file, whole, and the workers stay."""
    with start() as fpm:
        log = fpm.folder / "access.log"
        wait_until(lambda: len(fpm.worker_pids("web")) == 2)
        workers = fpm.worker_pids("web")
        old = []
        with make_load(fpm) as load:
            for number in range(ROTATIONS):
                load.go_on()
                old.append(log.rename(fpm.folder / f"access.log.{number}"))
                load.go_on()
                if number % 2:
                    os.kill(fpm.process.pid, signal.SIGUSR1)
                else:
                    assert fpm.control("reopen-logs") == {"files": [str(log)]}
                wait_until(lambda: log.exists() and log.stat().st_size)
        check_lines(load, *old, log)
        assert fpm.worker_pids("web") == workers
        assert all(file.stat().st_size for file in (*old, log))


def test_busy_worker_writes_to_the_rotated_file_and_then_to_the_new_one():
    """Its line is not lost, and the order waits for it."""
    with start() as fpm:
        log, old = fpm.folder / "access.log", fpm.folder / "access.log.1"
        with fpm.client("web.sock") as client:
            client.send(encode_request(1, make_params("/sleep?s=1"), b"", keep_conn=True))
            wait_until(lambda: fpm.pool_status("web")["active processes"])
            log.rename(old)
            fpm.command("reopen-logs")
            client.response()
            assert wait_for_lines(old, 1)[0].startswith("GET /sleep?s=1 200")
            client.request("/?new", keep=True)
            assert wait_for_lines(log, 1) == ["GET /?new 200 8"]


def test_worker_that_could_not_be_told_of_a_rotation_is_told_later():
    """Its control socket is full of older orders: it has been stopped for a while."""
    with start() as fpm:
        log, old = fpm.folder / "access.log", fpm.folder / "access.log.1"
        wait_until(lambda: len(fpm.worker_pids("web")) == 2)
        workers = fpm.worker_pids("web")
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        for _ in range(300):  # the socket takes 278
            fpm.control("reopen-logs")
        log.rename(old)
        fpm.control("reopen-logs")
        for pid in workers:
            os.kill(pid, signal.SIGCONT)

        def is_written():
            fetch(fpm.address("web.sock"))
            return log.stat().st_size

        wait_until(is_written)
        assert fpm.worker_pids("web") == workers


def test_worker_that_is_spawned_after_a_rotation_writes_to_the_new_file():
    """Its zygote is older than the file."""
    with start() as fpm:
        log, old = fpm.folder / "access.log", fpm.folder / "access.log.1"
        fetch(fpm.address("web.sock"), "/?old")
        wait_for_lines(log, 1)
        log.rename(old)
        fpm.command("reopen-logs")
        assert fpm.command("restart", "web").returncode == 0
        fetch(fpm.address("web.sock"), "/?new")
        assert wait_for_lines(log, 1) == ["GET /?new 200 8"]
        assert lines_of(old) == ["GET /?old 200 8"]


def test_no_line_is_lost_in_reloads_and_upgrades_under_load():
    """Both give every worker a successor; a rotation after them reaches the new ones."""
    with start() as fpm:
        log = fpm.folder / "access.log"
        old = []
        with make_load(fpm) as load:
            for number, command in enumerate(("reload", "upgrade", "reload")):
                load.go_on()
                done = fpm.command(command)
                assert done.returncode == 0, done.stderr
                load.go_on()
                old.append(log.rename(fpm.folder / f"access.log.{number}"))
                assert fpm.control("reopen-logs") == {"files": [str(log)]}
                load.go_on()
        check_lines(load, *old, log)


def test_log_that_cannot_be_opened_survives_an_upgrade():
    """The open file goes to the new master, for the service is worth more than its log."""
    with start() as fpm:
        log = fpm.folder / "access.log"
        old = log.rename(fpm.folder / "access.log.1")
        log.symlink_to("/dev/null")
        wait_until(lambda: len(fpm.worker_pids("web")) == 2)
        workers = fpm.worker_pids("web")
        done = fpm.command("upgrade")
        assert done.returncode == 1
        assert "runs, but not all pools could be reloaded" in done.stderr
        assert fpm.worker_pids("web") == workers
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: len(set(fpm.worker_pids("web")) - set(workers)) == 1)
        for _ in range(4):
            fetch(fpm.address("web.sock"))
        assert wait_for_lines(old, 4) == ["GET / 200 8"] * 4


def test_log_that_cannot_be_reopened_fails_the_command_and_stays_in_use():
    """Lines go on into the rotated file, and other logs are reopened all the same."""
    with start(main="error_log = pyfpm.log") as fpm:
        log = fpm.folder / "access.log"
        old = log.rename(fpm.folder / "access.log.1")
        log.symlink_to("/dev/null")
        (fpm.folder / "pyfpm.log").rename(fpm.folder / "pyfpm.log.1")
        done = fpm.command("reopen-logs")
        assert done.returncode == 1
        assert "access.log: it is a symbolic link" in done.stderr
        assert (fpm.folder / "pyfpm.log").exists()
        fetch(fpm.address("web.sock"))
        assert wait_for_lines(old, 1) == ["GET / 200 8"]
