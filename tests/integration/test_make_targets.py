"""What a newcomer types: `make run`, `make`, and what continuous integration runs."""

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from harness.http_client import HttpClient
from harness.log_reader import LogReader
from harness.machine import REPOSITORY, web_server_missing
from harness.master import environment

SERVE_HELLO = REPOSITORY / "scripts" / "serve_hello.py"
PYFPM = Path(sys.executable).with_name("pyfpm")


@contextmanager
def serving_hello():
    """Run the script of `make run` to the end of the block, and see that it takes all with it."""
    if not Path("/usr/sbin/nginx").exists():
        web_server_missing("/usr/sbin/nginx")
    if not PYFPM.exists():
        pytest.skip("pyfpm is not installed beside this interpreter: run make test")
    process = subprocess.Popen(
        [sys.executable, SERVE_HELLO],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
        start_new_session=True,
    )
    log = LogReader(process.stdout)
    try:
        yield process, log
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
        log.wait_for_end()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive


def test_make_run_serves_the_example_at_the_url_it_prints():
    """The URL answers through nginx, and Ctrl-C ends nginx, the master and the folder."""
    with serving_hello() as (_, log):
        port = int(log.wait_for(r"http://127\.0\.0\.1:(\d+)/$", timeout_s=30)[1])
        log.wait_for("Ctrl-C ends it")
        with HttpClient(port) as client:
            response = client.get("/any/path")
            assert response.body.startswith(b"Hello from pyfpm! You asked for /any/path")
            assert response.header("Server").startswith("nginx")
            assert client.get("/fpm-status?full").status == 200
        folder = Path(log.wait_for(r"less (\S+)/pyfpm\.conf")[1])
        assert folder.is_dir()
    assert not folder.exists()


def test_the_commands_that_make_run_suggests_work():
    """Each line of "Try next" ends with 0, as typed."""
    with serving_hello() as (_, log):
        log.wait_for("Ctrl-C ends it", timeout_s=30)
        suggested = [line for line in log.lines() if re.match(r"    \S+ ", line)]
        assert len(suggested) >= 3
        for line in suggested:
            done = subprocess.run(
                line.replace("less", "cat").replace("curl", "curl -sf"),
                shell=True,
                capture_output=True,
                check=False,
                env=environment(),
            )
            assert done.returncode == 0, (line, done.stderr)


def test_make_lists_its_targets():
    """`make` alone is the help."""
    done = subprocess.run(
        ["make", "-C", REPOSITORY], capture_output=True, text=True, check=True, env=environment()
    )
    for target in ("run", "test", "clean", "bench"):
        assert f"make {target} " in done.stdout


def test_continuous_integration_runs_make_test_and_nothing_else():
    """A developer and the CI run the same command."""
    script = (REPOSITORY / ".ci" / "run").read_text()
    commands = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make test"
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & 0o111
