"""The master as the first process of a container: it reaps strangers and can be stopped."""

import os
import signal
import subprocess
import sys

import pytest
from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import children_of, process_fields, watching

# In a pid namespace of its own, with a /proc that shows it.
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
POOL = """
[pool:hello]
app = orphans:app
listen = %(here)s/hello.sock
pm = static
pm.max_children = 1
"""
# Each request leaves processes whose parent has ended; they end a little later.
ORPHANS = """
import subprocess
def app(environ, start_response):
    for _ in range(5):
        subprocess.run(["sh", "-c", "sleep 0.1 & exit 0"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"left"]
"""


@pytest.fixture
def contained(as_root):
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no pid namespaces")


class Contained(Pyfpm):
    """A master that is PID 1; `process` is `unshare`, which ends with the master's exit code."""

    @property
    def init(self) -> int:
        (pid,) = children_of(self.process.pid)
        return pid

    def stop(self, number=signal.SIGTERM, timeout_s=40):
        self._remember_family()
        os.kill(self.init, number)
        code = self.process.wait(timeout_s)
        assert code == 0, f"the master ended with {code}:\n{self.log.text()}"
        return code


def below(pid):
    """The pids of everything below a process, zombies included."""
    found = []
    for child in children_of(pid):
        found += [child, *below(child)]
    return found


def zombies_of(pid):
    return [child for child in below(pid) if process_fields(child)["State"].startswith("Z")]


def test_orphans_are_reaped_and_the_service_goes_on(contained):
    """No zombie stays, and none of the strangers is taken for a worker."""
    with Contained(POOL, files={"orphans.py": ORPHANS}, launcher=UNSHARE) as fpm:
        assert process_fields(fpm.init)["NSpid"].split()[-1] == "1"
        for _ in range(10):
            assert fetch(fpm.address("hello.sock")).body == b"left"
        zygote_and_worker = 2
        wait_until(lambda: len(below(fpm.init)) == zygote_and_worker)
        assert not zombies_of(fpm.init)
        assert fpm.pool_status("hello")["total processes"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_container_that_is_stopped_ends_with_0(contained, number):
    """PID 1 has no default actions, so every signal needs its handler."""
    with Contained(POOL, files={"orphans.py": ORPHANS}, launcher=UNSHARE) as fpm:
        with watching(*below(fpm.init)) as ends:
            fpm.stop(number)
            ends.wait()
        assert "bye-bye" in fpm.log.text()


def test_a_container_that_is_stopped_while_it_starts_ends_with_0(contained):
    """The kernel drops what PID 1 neither handles nor blocks: such a TERM would be lost."""
    source = (
        "import os, signal, sys\n"
        "from pyfpm.master import daemon\n"
        "original = daemon.open_log\n"
        "def open_log(settings):\n"
        "    os.kill(1, signal.SIGTERM)\n"
        "    original(settings)\n"
        "daemon.open_log = open_log\n"
        "from pyfpm.cli.program import main\n"
        "sys.exit(main(sys.argv[4:]))\n"
    )
    # The launcher drops the words `PYTHON -m pyfpm` that follow it.
    launcher = [*UNSHARE, sys.executable, "-c", source]
    with Contained(POOL, files={"orphans.py": ORPHANS}, launcher=launcher, wait_ready=False) as fpm:
        assert fpm.process.wait(20) == 0
        fpm.log.wait_for("SIGTERM: finishing")
