"""`pyfpm upgrade`: other code in the same process, and nothing is lost."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from harness.fcgi_client import FcgiResponse, fetch
from harness.installed import installed
from harness.load import ECHO_APP, Load, site
from harness.machine import (
    EXAMPLES,
    IS_ROOT,
    REPOSITORY,
    copy_examples,
    find_pool_python,
    free_port,
    temporary_folder,
    wait_until,
)
from harness.master import Pyfpm, environment, run_pyfpm
from harness.processes import children_of, count_descriptors, title_of, watching
from harness.service_manager import NotifySocket, launcher
from harness.upgrades import SHOP, assert_upgraded, body_of, both_pids
from harness.web_servers import Nginx

from pyfpm import ControlError
from pyfpm.control import ControlClient

SWITCHED = """
import os
if os.path.exists({switch!r}):
    raise RuntimeError("the shop is closed")
from torture import app
"""


class Request(threading.Thread):
    """One request on a connection of its own, beside what the test does meanwhile."""

    def __init__(self, service: Pyfpm, uri: str) -> None:
        super().__init__()
        self._address, self._uri = service.address("shop.sock"), uri
        self._answer: FcgiResponse | None = None
        self.start()

    def run(self) -> None:
        self._answer = fetch(self._address, self._uri)

    def answer(self) -> bytes:
        self.join()
        assert self._answer is not None
        return body_of(self._answer)


def wait_busy(service: Pyfpm, count: int = 1) -> None:
    wait_until(lambda: service.pool_status("shop")["active processes"] == count)


def test_upgrade_runs_the_new_code_in_the_same_process() -> None:
    """Same pid, same sockets, counters that go on; new version, and new workers of it."""
    with installed() as code, Pyfpm(SHOP, environ=code.environ) as service:
        sockets = [service.folder / "shop.sock", service.folder / "control.sock"]
        inodes = [path.stat().st_ino for path in sockets]
        for _ in range(5):
            body_of(fetch(service.address("shop.sock")))
        service.wait_accepted("shop", 5)
        before = both_pids(service)
        code.become_version("0.2.0.test")
        done = service.command("upgrade")
        assert_upgraded(done, f"0.2.0.test serves, pid {service.process.pid}")
        assert "pool shop: generation 2 serves" in done.stdout
        whole = service.status()
        assert whole["pyfpm"]["version"] == "0.2.0.test"
        assert whole["pyfpm"]["pid"] == service.process.pid
        assert whole["pyfpm"]["generation"] == 2
        assert whole["pools"]["shop"]["accepted conn"] == 5
        assert whole["pools"]["shop"]["generation"] == 2
        assert [path.stat().st_ino for path in sockets] == inodes
        assert not set(before) & set(service.worker_pids("shop"))
        assert title_of(service.process.pid) == "pyfpm: master"
        assert int((service.folder / "pyfpm.pid").read_text()) == service.process.pid
        body_of(fetch(service.address("shop.sock")))


def test_three_upgrades_under_load_lose_no_request() -> None:
    """GET and POST on kept connections through nginx, while the master becomes another thrice."""
    pool = SHOP.replace("torture", "echo_app")
    with (
        Pyfpm(pool, files={"echo_app.py": ECHO_APP}) as service,
        Nginx(site(service.address("shop.sock"))) as nginx,
        Load(nginx.port, seed=7, connections=8, largest=50_000) as load,
    ):
        load.wait_for(200)
        for generation in (2, 3, 4):
            assert_upgraded(service.command("upgrade"))
            assert service.pool_status("shop")["generation"] == generation
            load.wait_for(200)
        result = load.stop()
        assert result.failed == 0, str(result)
        service.wait_accepted("shop", result.requests)


def test_upgrade_while_a_request_runs_lets_it_end() -> None:
    """The worker that is busy during the exec answers, and what it prints is one line."""
    talk = (
        "import time\n"
        "def app(environ, start_response):\n"
        "    print('the first half, ', end='', flush=True)\n"
        "    time.sleep(3)\n"
        "    print('and the second', flush=True)\n"
        "    start_response('200 OK', [('Content-Length', '4')])\n"
        "    return [b'done']\n"
    )
    pool = SHOP.replace("torture", "talk")
    with Pyfpm(pool, files={"talk.py": talk}) as service:
        request = Request(service, "/")
        wait_busy(service)
        assert_upgraded(service.command("upgrade"))
        assert request.answer() == b"done"
        service.log.wait_for("the first half, and the second")
        wait_until(lambda: service.pool_status("shop")["recycles"]["reload"] == 2)


def test_upgrade_twice_while_a_worker_drains_keeps_it() -> None:
    """A worker that drains already is known to the new master, and its end is counted."""
    with Pyfpm(SHOP) as service:
        request = Request(service, "/sleep?s=5")
        wait_busy(service)
        assert_upgraded(service.command("upgrade"))
        done = service.command("upgrade")
        assert_upgraded(done)
        request.answer()
        wait_until(lambda: service.pool_status("shop")["recycles"]["reload"] == 4)


def test_application_that_no_longer_boots_keeps_its_old_workers() -> None:
    """The master is new, the pool serves on with the very same workers: no exec ends them."""
    with (
        installed() as code,
        Pyfpm(
            SHOP.replace("torture", "switched"),
            files={"switched.py": SWITCHED.format(switch="/proc/self/cwd/closed")},
            environ=code.environ,
        ) as service,
    ):
        before = both_pids(service)
        (service.app / "closed").touch()
        code.become_version("0.2.0.test")
        done = service.command("upgrade")
        assert done.returncode == 1
        assert "pyfpm 0.2.0.test runs, but" in done.stderr
        assert "the shop is closed" in done.stderr
        assert service.status()["pyfpm"]["version"] == "0.2.0.test"
        assert service.worker_pids("shop") == before
        body_of(fetch(service.address("shop.sock")))
        # The old generation is whole: a worker of it that dies is replaced from its old zygote.
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(service.worker_pids("shop")) - {before[0], 0}) == 2)
        (service.app / "closed").unlink()
        assert service.command("reload").returncode == 0


def test_ondemand_pool_without_workers_keeps_its_parked_connections() -> None:
    """Connections that the master keeps come through the exec, and are answered afterwards."""
    pool = SHOP.replace("static", "ondemand") + "pm.process_idle_timeout = 300ms\n"
    with Pyfpm(pool) as service, service.client("shop.sock") as client:
        body_of(client.request("/", keep=True))
        wait_until(lambda: service.pool_status("shop")["parked connections"] == 1)
        wait_until(lambda: service.pool_status("shop")["total processes"] == 0)
        assert_upgraded(service.command("upgrade"))
        wait_until(lambda: service.pool_status("shop")["total processes"] == 0)
        assert service.pool_status("shop")["parked connections"] == 1
        body_of(client.request("/echo", method="POST", body=b"x" * 1000, keep=True))


def test_stopped_and_degraded_pools_stay_what_they_are() -> None:
    """A pool that was stopped is not started, one that does not boot is still tried."""
    pools = (
        SHOP
        + SHOP.replace("shop", "idle").replace("pm = static", "autostart = no\npm = static")
        + SHOP.replace("shop", "sick").replace("torture", "switched")
    )
    switched = SWITCHED.format(switch="/proc/self/cwd/closed")
    with Pyfpm(
        pools,
        files={"switched.py": switched, "closed": ""},
    ) as service:
        done = service.command("upgrade")
        assert done.returncode == 1
        assert "the shop is closed" in done.stderr
        assert service.pool_status("shop")["generation"] == 2
        assert service.pool_status("idle")["state"] == "stopped"
        assert service.pool_status("sick")["state"] == "degraded"
        assert not (service.folder / "idle.sock").exists()
        (service.app / "closed").unlink()
        wait_until(lambda: service.pool_status("sick")["state"] == "running", timeout_s=20)
        body_of(fetch(service.address("sick.sock")))


def test_upgrades_leave_no_descriptor_and_no_process_behind() -> None:
    """The third upgrade costs what the first one did: nothing."""
    with Pyfpm(SHOP) as service:

        def count() -> int:
            wait_until(lambda: service.pool_status("shop")["total processes"] == 2)
            wait_until(lambda: len(children_of(service.process.pid)) == 3)
            return count_descriptors(service.process.pid)

        assert_upgraded(service.command("upgrade"))
        first = count()
        for _ in range(2):
            assert_upgraded(service.command("upgrade"))
        # The connection that asked for the status is closed a moment after the answer.
        wait_until(lambda: count() <= first)
        assert len(os.listdir(f"/proc/{service.process.pid}/task")) == 1


def test_time_limits_go_on_for_a_request_that_runs() -> None:
    """It is in the slow log once, its stacks can still be had, and it is ended in time.

    A limit that began anew with the new master would end it 8 s after the upgrade was asked for, at
    the earliest.
    """
    limits = "request_slowlog_timeout = 2500ms\nrequest_terminate_timeout = 8s\n"
    with Pyfpm(SHOP + limits) as service:
        request = Request(service, "/sleep?s=30")
        service.log.wait_for("executing too slow")
        asked_s = time.monotonic()
        assert_upgraded(service.command("upgrade"))
        assert "sleep" in service.command("trace", "shop").stdout
        with pytest.raises(AssertionError, match="504"):
            request.answer()
        assert time.monotonic() - asked_s < 8
        status = service.pool_status("shop")
        assert status["slow requests"] == 1
        assert status["terminated requests"] == 1


def test_service_manager_and_its_sockets_come_along() -> None:
    """A new master goes on telling systemd, and knows the sockets that the old one was passed."""
    pool = SHOP.replace("%(here)s/shop.sock", "systemd:web")
    with temporary_folder() as folder, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "web.sock"))
        sock.listen()
        (folder / "web.sock").chmod(0o666)
        with (
            NotifySocket(folder) as manager,
            Pyfpm(
                pool,
                environ={"NOTIFY_SOCKET": manager.address},
                launcher=launcher("web", [sock]),
                pass_fds=[sock.fileno()],
            ) as service,
        ):
            for _ in range(2):
                since = manager.mark()
                assert_upgraded(service.command("upgrade"))
                manager.wait_for("RELOADING", "1", since=since)
                message = manager.wait_for("READY", "1", since=since)
                assert message["MAINPID"] == str(service.process.pid)
                body_of(fetch(f"unix:{folder / 'web.sock'}"))
                variables = Path(f"/proc/{service.zygote_pid('shop')}/environ").read_bytes()
                assert b"NOTIFY_SOCKET" not in variables
                assert b"LISTEN_FDS" not in variables


def test_daemon_is_upgraded_in_the_background() -> None:
    """Its working folder is another one since its start, and its error log a file."""
    with temporary_folder() as folder:
        copy_examples(folder)
        user = "user = www-data" if IS_ROOT else ""
        lines = ["[pyfpm]", "control = control.sock", "pid = pyfpm.pid", "error_log = error.log"]
        lines += [SHOP, f"directory = {folder}/app", user, f"python = {find_pool_python() or ''}"]
        (folder / "pyfpm.conf").write_text("\n".join(lines) + "\n")
        words = {"cwd": folder, "env": {"PYTHONPATH": str(REPOSITORY)}}
        done = run_pyfpm("-c", "pyfpm.conf", "start", "-D", **words)
        assert done.returncode == 0, done.stderr
        pid = int((folder / "pyfpm.pid").read_text())
        with watching(pid) as ends:
            try:
                assert_upgraded(run_pyfpm("-c", "pyfpm.conf", "upgrade", **words))
                assert int((folder / "pyfpm.pid").read_text()) == pid
                body_of(fetch(f"unix:{folder}/shop.sock"))
                assert "runs in the place of" in (folder / "error.log").read_text()
            finally:
                os.kill(pid, signal.SIGTERM)
                ends.wait()
        assert not list(folder.glob("*.sock"))


def test_two_upgrades_at_once_are_one_or_two_in_turn() -> None:
    """Both commands get an answer, and the service is whole."""
    with Pyfpm(SHOP) as service:
        answers: list[str] = []

        def upgrade() -> None:
            try:
                answers.append(service.control("upgrade")["version"])
            except ControlError as error:
                answers.append(str(error))

        commands = [threading.Thread(target=upgrade) for _ in range(2)]
        for command in commands:
            command.start()
        for command in commands:
            command.join()
        assert "0.1.0" in answers
        assert set(answers) <= {"0.1.0", "an upgrade is under way already"}
        body_of(fetch(service.address("shop.sock")))


def test_upgrade_goes_on_without_its_client() -> None:
    """A command that is killed leaves no half of an upgrade."""
    with Pyfpm(SHOP) as service:
        since = service.log.mark()
        command = subprocess.Popen(
            [sys.executable, "-m", "pyfpm", "-c", service.config, "upgrade"],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        service.log.wait_for("trying the new code", since=since)
        command.kill()
        command.wait()
        service.log.wait_for("reload complete", since=since)
        assert service.pool_status("shop")["generation"] == 2


def test_embedded_front_end_cannot_be_upgraded(tmp_path: Path) -> None:
    """`pyfpm run` says so, and goes on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pyfpm", "run", "hello:app", "--listen", f"127.0.0.1:{free_port()}"],
        env=environment({"TMPDIR": str(tmp_path)}),
        cwd=EXAMPLES,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        [path] = wait_until(lambda: list(tmp_path.glob("pyfpm-run-*/control.sock")))
        with ControlClient(str(path)) as client, pytest.raises(ControlError, match="pyfpm run"):
            client.call("upgrade")
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)
