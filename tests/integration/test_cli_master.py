"""The commands that talk to a master or to a responder, against real ones."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
from harness.machine import POOL_USER, find_pool_python, free_port, temporary_folder, wait_until
from harness.master import Pyfpm, environment, run_pyfpm

from pyfpm.fastcgi import encode_request

POOL = """\
[pool:shop]
app = torture:app
listen = unix:shop.sock
pm = static
pm.max_children = 2
ping.path = /ping
pm.status_path = /fpm-status
"""
SLOW = "import time\ndef app(e, s):\n    time.sleep(30)\n"


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOL) as running:
        yield running


def test_status_table_has_a_row_for_the_pool(fpm):
    """For people: names in a head, one row a pool, workers with --full."""
    done = fpm.command("status")
    assert done.returncode == 0
    head, row = done.stdout.splitlines()[:2]
    assert head.split()[0] == "POOL"
    assert row.split()[:3] == ["shop", "static", "running"]
    full = fpm.command("status", "shop", "--full").stdout
    assert all(str(pid) in full for pid in fpm.worker_pids("shop"))


def test_status_json_is_the_contracts_object(fpm):
    """For programs: one object with the master's part and PHP-FPM's names for each pool."""
    document = fpm.status()
    assert set(document) == {"pyfpm", "pools"}
    assert document["pyfpm"]["pid"] == fpm.process.pid
    assert document["pools"]["shop"]["total processes"] == 2


def test_status_text_is_php_fpms_page(fpm):
    """The text form has PHP-FPM's layout."""
    assert "pool:                 shop\n" in fpm.command("status", "--format", "text").stdout


def test_status_of_an_unknown_pool_names_the_known_ones(fpm):
    """A misspelt pool is wrong usage, with the right names."""
    done = fpm.command("status", "shopp")
    assert done.returncode == 64
    assert done.stderr.startswith("pyfpm: status: no pool 'shopp'")
    assert "shop" in done.stderr
    assert done.stdout == ""


def test_ping_prints_the_answer_and_the_time(fpm):
    """Exit code 0, the pool's own word, and how long it took."""
    done = fpm.command("ping", fpm.address("shop.sock"))
    assert done.returncode == 0
    assert re.fullmatch(r"pong \(\d+\.\d ms\)\n", done.stdout)


def test_ping_at_a_wrong_path_fails_and_says_what_came(fpm):
    """Another status than 200 is no pong."""
    done = fpm.command("ping", fpm.address("shop.sock"), "--path", "/nothing")
    assert done.returncode == 1
    assert "404" in done.stderr


def test_ping_without_a_responder_fails_with_the_reason(tmp_path):
    """A missing socket is one line and exit code 1."""
    done = run_pyfpm("ping", f"unix:{tmp_path}/none.sock")
    assert done.returncode == 1
    assert done.stderr == f"pyfpm: ping: connect {tmp_path}/none.sock: no such file or directory\n"


def test_ping_of_a_silent_responder_ends_at_the_timeout(tmp_path):
    """A listener that never answers does not hang the command."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.sock"))
        listener.listen()
        done = run_pyfpm("ping", tmp_path / "s.sock", "--timeout", "0.3")
    assert done.returncode == 1
    assert "no byte from the responder" in done.stderr


def test_request_prints_body_and_head_apart(fpm):
    """The body is on stdout, so that it can be piped; the head is on stderr, or with -i before."""
    done = fpm.command("request", fpm.address("shop.sock"), "/echo", "-d", "a=1")
    assert (done.returncode, done.stdout) == (0, "a=1")
    assert done.stderr.startswith("Status: 200 OK\n")
    done = fpm.command("request", "-i", fpm.address("shop.sock"), "/echo", "-d", "a=1")
    assert done.stdout.startswith("Status: 200 OK\n")
    assert done.stdout.endswith("\n\na=1")
    assert done.stderr == ""


def test_request_sends_what_was_asked(fpm, tmp_path):
    """Method, headers, parameters and a body from a file arrive."""
    (tmp_path / "body").write_bytes(b"x" * 300_000)
    done = fpm.command(
        *("request", fpm.address("shop.sock"), "/environ?q=%20", "-X", "PUT"),
        *("-H", "X-Colour: blue", "-H", "Content-Type: text/x", "--param", "REMOTE_USER=eve"),
        *("-d", f"@{tmp_path / 'body'}"),
    )
    seen = json.loads(done.stdout)
    assert seen["REQUEST_METHOD"] == "PUT"
    assert seen["QUERY_STRING"] == "q=%20"
    assert seen["HTTP_X_COLOUR"] == "blue"
    assert seen["CONTENT_TYPE"] == "text/x"
    assert seen["CONTENT_LENGTH"] == "300000"
    assert seen["REMOTE_USER"] == "eve"


def test_request_sends_bytes_that_are_no_text(fpm):
    """Clients send such, and whoever wants to see it again has to be able to."""
    done = fpm.command(
        *("request", fpm.address("shop.sock"), "/environ?q=\udcff"),
        *("-H", "User-Agent: a\udcff", "--param", "REMOTE_USER=\udcfe"),
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["QUERY_STRING"] == "q=\xff"
    assert seen["HTTP_USER_AGENT"] == "a\xff"
    assert seen["REMOTE_USER"] == "\xfe"
    done = fpm.command("request", fpm.address("shop.sock"), "/\udcff", "-d", "\udcff")
    assert done.stderr.startswith("Status: 404 ")


def test_request_answered_with_an_http_error_is_still_an_answer(fpm):
    """404 is an answer of the application: exit code 0, as with curl."""
    done = fpm.command("request", fpm.address("shop.sock"), "/nowhere")
    assert done.returncode == 0
    assert done.stderr.startswith("Status: 404 ")


def test_php_fpm_is_asked_as_well(tmp_path):
    """Ping and request speak to PHP-FPM, the other responder that operators have."""
    php = "/usr/sbin/php-fpm8.2"
    if not os.path.exists(php):
        pytest.skip("php-fpm is not installed: it is a comparison, not a web server")
    with temporary_folder() as folder:
        (folder / "x.php").write_text("<?php echo $_SERVER['REQUEST_METHOD'], ' ', $_GET['a'];")
        (folder / "fpm.conf").write_text(
            f"[global]\npid = {folder}/pid\nerror_log = {folder}/log\n"
            f"[www]\nlisten = {folder}/php.sock\nuser = {POOL_USER}\n"
            "pm = static\npm.max_children = 1\nping.path = /ping\n"
        )
        with subprocess.Popen(
            [php, "-F", "-R", "-y", folder / "fpm.conf"], stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait_until((folder / "php.sock").exists)
                assert run_pyfpm("ping", folder / "php.sock").stdout.startswith("pong (")
                script = f"SCRIPT_FILENAME={folder}/x.php"
                done = run_pyfpm("request", folder / "php.sock", "/x.php?a=7", "--param", script)
                assert done.stdout == "GET 7"
            finally:
                process.terminate()


def test_stop_waits_until_the_master_is_gone():
    """When the command returns, process, sockets and pid file are gone."""
    with Pyfpm(POOL) as fpm:
        done = fpm.command("stop")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert fpm.process.wait(1) == 0
        assert fpm.command("status").returncode == 69
        assert not (fpm.folder / "control.sock").exists()


def test_stop_now_does_not_wait_for_a_request():
    """--now ends a master whose worker is busy, long before the request would end."""
    pool = (
        "[pool:slow]\napp = slow:app\nlisten = unix:slow.sock\npm = static\npm.max_children = 1\n"
    )
    with Pyfpm(pool, files={"slow.py": SLOW}) as fpm, socket.socket(socket.AF_UNIX) as busy:
        busy.connect(str(fpm.folder / "slow.sock"))
        busy.sendall(encode_request(1, [(b"REQUEST_METHOD", b"GET"), (b"SCRIPT_NAME", b"/")]))
        wait_until(lambda: fpm.status("slow")["active processes"] == 1)
        assert fpm.command("stop", "--now").returncode == 0


def test_port_alone_is_one_of_this_machine():
    """For who asks; a pool that listens on a port alone listens everywhere."""
    port = free_port()
    done = run_pyfpm("ping", str(port))
    assert done.returncode == 1
    assert done.stderr == f"pyfpm: ping: connect localhost:{port}: connection refused\n"


def test_commands_without_a_master_are_exit_code_69(tmp_path):
    """The message says where a master was expected."""
    config = tmp_path / "pyfpm.conf"
    config.write_text(f"[pyfpm]\ncontrol = {tmp_path}/c.sock\n[pool:a]\napp = a:b\nlisten = ./s\n")
    for command in ("status", "stop"):
        done = run_pyfpm("-c", config, command)
        assert done.returncode == 69
        assert done.stderr == (
            f"pyfpm: {command}: no master answers at {tmp_path}/c.sock: start it with"
            " `pyfpm start`, or name its configuration with -c\n"
        )


@pytest.mark.usefixtures("as_root")
def test_another_user_may_look_but_not_stop():
    """Whom control.mode admits gets the status; stop is exit code 77."""
    with Pyfpm(POOL, main="control.mode = 0666") as fpm:
        for command, code in (("status", 0), ("stop", 77)):
            done = subprocess.run(
                [sys.executable, "-m", "pyfpm", "-c", fpm.config, command],
                user=POOL_USER,
                group=POOL_USER,
                extra_groups=[],
                env=environment(),
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == code, done.stderr
        assert "only root or the master's user" in done.stderr


def test_check_counts_the_pools_and_dump_shows_origins(fpm):
    """A right configuration is one line; --dump and -tt show every value."""
    done = fpm.command("check")
    assert (done.returncode, done.stdout) == (0, f"{fpm.config}: 1 pool, no problems\n")
    assert fpm.command("-t").stdout == done.stdout
    dump = fpm.command("check", "--dump").stdout
    assert re.search(r"pm\.max_children = 2 +; .*pyfpm\.conf:\d+", dump)
    assert re.search(r"pm\.max_spawn_rate = 32 +; default", dump)
    assert fpm.command("-tt").stdout == dump


def test_check_reports_every_problem_at_once(tmp_path):
    """Each problem is a line with file and line number, and nothing is created."""
    config = tmp_path / "pyfpm.conf"
    config.write_text(
        "[pyfpm]\nunheard = 1\n[pool:a]\napp = nonsense\nlisten = run/a.sock\npm = ?\n"
    )
    done = run_pyfpm("-c", config, "check")
    assert done.returncode == 78
    places = {line.partition(": ")[0] for line in done.stderr.splitlines()}
    assert {f"{config}:{number}" for number in (2, 4, 6)} <= places
    assert os.listdir(tmp_path) == ["pyfpm.conf"]


def test_written_sample_is_checked_and_served():
    """`init`, `check`, `start`, `request`: the first minutes of a new user."""
    with temporary_folder() as folder:
        assert run_pyfpm("init", folder).returncode == 0
        config = folder / "pyfpm.conf"
        with (folder / "pools.d" / "hello.conf").open("a") as pool:
            if python := find_pool_python():
                pool.write(f"python = {python}\n")
        config.write_text(config.read_text().replace(";control =", f"control = {folder}/c.sock"))
        done = run_pyfpm("-c", config, "check")
        assert done.returncode == 0, done.stderr
        with subprocess.Popen(
            [sys.executable, "-m", "pyfpm", "-c", config, "start"],
            env=environment(),
            cwd="/",
            stderr=subprocess.PIPE,
            text=True,
        ) as master:
            assert any("ready to handle connections" in line for line in master.stderr)
            done = run_pyfpm("request", f"unix:{folder}/run/hello.sock", "/x")
            assert re.fullmatch(r"Hello from pyfpm, worker \d+: /x\n", done.stdout)
            assert run_pyfpm("-c", config, "stop").returncode == 0
            assert master.wait(10) == 0
