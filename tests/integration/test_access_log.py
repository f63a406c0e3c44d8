"""The access log of a running service: who opens it, who gets a line, and that none is lost."""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import temporary_folder, wait_until
from harness.master import Pyfpm
from harness.named_requests import NamedRequests
from harness.web_servers import Nginx, nginx_site

from pyfpm.fastcgi import encode_request

POOL = """\
[pool:web]
app = torture:app
listen = unix:web.sock
pm = static
pm.max_children = 2
access.log = {log}
access.format = {form}
{more}
"""
ROTATIONS = 20


def make_pool(more="", *, log="access.log", form="%m %r%Q%q %s %b", app="torture:app"):
    return POOL.format(more=more, log=log, form=form).replace("torture:app", app)


def start(more="", *, log="access.log", form="%m %r%Q%q %s %b", **options):
    return Pyfpm(make_pool(more, log=log, form=form), **options)


def lines_of(*files):
    return [line for file in files if file.exists() for line in file.read_text().splitlines()]


def wait_for_lines(file, count):
    """Wait for so many lines; a worker writes one a moment after the client has its answer."""
    wait_until(lambda: len(lines_of(file)) >= count)
    return lines_of(file)


def send_half(fpm, uri, params=None):
    """A request whose body has not come; the connection is the caller's."""
    client = fpm.client("web.sock")
    pairs = make_params(uri, method="POST", body=b"x" * 10, params=params)
    whole = encode_request(1, pairs, b"x" * 10)
    client.send(whole[:-16])
    return client


# The file


def test_file_is_the_masters_and_its_lines_are_the_workers(as_root):
    """Root owns it and nobody else can read it, while the worker that writes is no root."""
    with start(form="%u %p %P %n") as fpm:
        fetch(fpm.address("web.sock"))
        log = fpm.folder / "access.log"
        (line,) = wait_for_lines(log, 1)
        found = log.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o640)
        user, worker, master, pool = re.fullmatch(r"(\S*) (\d+) (\d+) (\S+)", line).groups()
        assert (user, int(master), pool) == ("", fpm.process.pid, "web")
        assert int(worker) in fpm.worker_pids("web")
        assert os.stat(f"/proc/{worker}").st_uid != 0


@pytest.mark.parametrize("kind", ["link", "foreign"])
def test_file_that_others_could_have_made_is_refused_with_its_line(as_root, kind):
    """A link could lead to any file that root can write."""

    def prepare(folder):
        log = folder / "access.log"
        if kind == "link":
            log.symlink_to(folder / "elsewhere")
        else:
            log.touch()
            os.chown(log, 12345, 12345)

    with pytest.raises(AssertionError) as caught, start(prepare=prepare):
        pass
    assert re.search(r"pyfpm.conf:\d+: \[pool:web\] access.log: open log", str(caught.value))


def test_reload_onto_a_file_that_cannot_be_opened_changes_nothing():
    """The old generation serves on, and writes to its own log."""
    with start() as fpm:
        (fpm.folder / "other.log").symlink_to("/dev/null")
        text = fpm.config.read_text()
        fpm.config.write_text(text.replace("= access.log", "= other.log"))
        done = fpm.command("reload")
        assert done.returncode == 1
        assert "other.log: it is a symbolic link" in done.stderr
        fetch(fpm.address("web.sock"))
        assert wait_for_lines(fpm.folder / "access.log", 1) == ["GET / 200 8"]


def test_reload_takes_another_file_and_another_format():
    """New workers write to the new one."""
    with start() as fpm:
        fetch(fpm.address("web.sock"), "/?old")
        text = fpm.config.read_text()
        text = text.replace("= access.log", "= other.log").replace("%m %r%Q%q %s %b", "new %q")
        fpm.config.write_text(text)
        assert fpm.command("reload").returncode == 0
        fetch(fpm.address("web.sock"), "/?new")
        assert wait_for_lines(fpm.folder / "other.log", 1) == ["new new"]
        assert wait_for_lines(fpm.folder / "access.log", 1) == ["GET /?old 200 8"]
        held = os.listdir(f"/proc/{fpm.process.pid}/fd")
        names = [os.readlink(f"/proc/{fpm.process.pid}/fd/{number}") for number in held]
        assert [name for name in names if name.endswith(".log")] == [str(fpm.folder / "other.log")]


# Who gets a line


def test_every_way_to_end_has_a_line_with_what_was_sent():
    """Answers, failures, refusals, broken responses, pages of the pool; no request is left out."""
    more = (
        "request_max_body = 1000\nping.path = /ping\npm.status_path = /fpm\n"
        "request_terminate_timeout = 2s\nrecycle_after_timeout = no\nrequest_queue_timeout = 10s\n"
        "request_body_timeout = 2s\nrequest_header_timeout = 2s\n"
    )
    with start(more) as fpm:
        address = fpm.address("web.sock")
        fetch(address, "/")
        fetch(address, "/", method="HEAD")
        fetch(address, "/nowhere?a=b")
        fetch(address, "/echo", method="POST", body=b"hello")
        fetch(address, "/stream?n=3&size=10")
        fetch(address, "/file?size=100000")
        fetch(address, "/write")
        fetch(address, "/error")
        assert not fetch(address, "/error-late?n=2").complete
        fetch(address, "/ping")
        page = fetch(address, "/fpm")
        fetch(address, "/big", method="POST", body=b"x" * 1001)
        fetch(address, "/", params={"REQUEST_METHOD": None})
        fetch(address, "/sleep?s=30")
        fetch(address, "/", params={"REQUEST_START": str(time.time() - 60)})
        with send_half(fpm, "/echo?late") as late:
            assert late.response().status == 408
        expected = {
            "GET / 200 8",
            "HEAD / 200 0",
            "GET /nowhere?a=b 404 14",
            "POST /echo 200 5",
            "GET /stream?n=3&size=10 200 30",
            "GET /file?size=100000 200 100000",
            "GET /write 200 29",
            "GET /error 500 22",
            "GET /error-late?n=2 200 32",
            "GET /ping 200 4",
            f"GET /fpm 200 {len(page.body)}",
            "GET /sleep?s=30 504 16",
        }
        lines = wait_for_lines(fpm.folder / "access.log", 16)
        assert expected - set(lines) == set()
        rest = [re.sub(r" \d+$", "", line) for line in lines if line not in expected]
        assert sorted(rest) == ["- - 400", "GET / 503", "POST /big 413", "POST /echo?late 408"]


def test_client_that_went_away_has_a_line():
    """With the status that was on its way to it."""
    with start() as fpm:
        client = FcgiClient(fpm.address("web.sock"))
        client.send(encode_request(1, make_params("/big?mb=64"), b""))
        client.socket.recv(1000)
        client.close()
        (line,) = wait_for_lines(fpm.folder / "access.log", 1)
        assert re.fullmatch(r"GET /big\?mb=64 200 0", line)


def test_request_that_killed_its_worker_has_none():
    """Nobody is left to write it; the error log names the request instead."""
    with start() as fpm:
        fetch(fpm.address("web.sock"), "/kill")
        fpm.log.wait_for("GET /kill")
        fetch(fpm.address("web.sock"), "/")
        assert wait_for_lines(fpm.folder / "access.log", 1) == ["GET / 200 8"]


def test_child_that_an_application_forks_writes_nothing():
    """And cannot: the log is closed in it."""
    app = """\
import os
import torture
def app(environ, start_response):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        links = []
        for number in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                pass  # the folder's own
        os.write(writer, repr([link for link in links if link.endswith(".log")]).encode())
        return torture.reply(start_response, b"of the child")
    os.waitpid(child, 0)
    return torture.reply(start_response, os.read(reader, 1000))
"""
    with Pyfpm(make_pool(app="forking:app"), files={"forking.py": app}) as fpm:
        assert fetch(fpm.address("web.sock")).body == b"[]"
        assert wait_for_lines(fpm.folder / "access.log", 1) == ["GET / 200 2"]


def test_application_that_closes_descriptors_finds_no_line_in_its_own_files():
    """A number that it freed and got again must not be the one that lines are written to."""
    app = """\
import os
def app(environ, start_response):
    path = os.environ["HOME_OF_DATA"]
    os.closerange(3, 200)
    numbers = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for _ in range(20)]
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
    with temporary_folder() as folder:
        folder.chmod(0o777)
        pool = make_pool(f"env[HOME_OF_DATA] = {folder}/data", app="careless:app")
        with Pyfpm(pool, files={"careless.py": app}) as fpm:
            fetch(fpm.address("web.sock"))
            fpm.log.wait_for("closed descriptors of its worker")
            assert b"GET / 200" not in (folder / "data").read_bytes()


def test_suppressed_paths_have_lines_only_for_what_is_unusual():
    """A health check every second is no news, until it fails."""
    more = "access.suppress_path[] = /ping\naccess.suppress_path[] = /error\nping.path = /ping"
    with start(more) as fpm:
        for uri in ("/ping", "/ping?full", "/error", "/"):
            fetch(fpm.address("web.sock"), uri)
        lines = wait_for_lines(fpm.folder / "access.log", 3)
        assert sorted(lines) == ["GET / 200 8", "GET /error 500 22", "GET /ping?full 200 4"]


# Rotation, reload, upgrade: under load, with every request counted


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


# Where it may go


@pytest.fixture
def disk(as_root, tmp_path):
    """A tmpfs of a few pages that only root can write."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,mode=0755"]
    made = subprocess.run(["mount", *options, "tmpfs", folder], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk):
    """Leave no free page."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def test_full_disk_costs_lines_and_one_complaint_but_no_request(disk):
    """The error log says what is wrong, and lines come again when there is room."""
    log = disk / "access.log"
    with start(log=log) as fpm:
        fill(disk)
        with fpm.client("web.sock") as client:
            for _ in range(100):
                uri = "/?" + "a" * 1000
                assert client.request(uri, keep=True).body == b"torture\n"
            fpm.log.wait_for(r"ERROR: \[pool web\] access log .*/access.log: a line was lost: ")
            assert len(fpm.log.find("access.log: .* lost")) == 1
            (disk / "filler").unlink()
            client.request("/?again", keep=True)
        wait_until(lambda: lines_of(log)[-1:] == ["GET /?again 200 8"])


def test_fifo_that_nobody_empties_stops_no_request():
    """Its lines are lost while it is full, and the error log says so."""

    def prepare(folder):
        os.mkfifo(folder / "access.log")
        readers.append(os.open(folder / "access.log", os.O_RDONLY | os.O_NONBLOCK))

    readers = []
    with start(prepare=prepare) as fpm, fpm.client("web.sock") as client:
        for number in range(200):
            uri = f"/?{number}." + "a" * 1000
            assert client.request(uri, keep=True).body == b"torture\n"
        fpm.log.wait_for("access.log: a line was lost: whoever reads it is too slow")
        text = b""
        while chunk := _read(readers[0]):
            text += chunk
        client.request("/?again", keep=True)
        wait_until(lambda: _read(readers[0]).endswith(b"GET /?again 200 8\n"))
    for line in text.decode().splitlines():
        assert re.fullmatch(r"GET /\?\d+\.a{1000} 200 8", line)
    os.close(readers[0])


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def test_socket_as_standard_output_takes_lines_and_stops_no_request(tmp_path):
    """As systemd gives it for the journal: it cannot be opened anew, and others share its mode."""
    path = str(tmp_path / "journal")
    code = (
        "import os, socket, sys; link = socket.socket(socket.AF_UNIX); link.connect(sys.argv[1]);"
        " os.dup2(link.fileno(), 1); os.execv(sys.argv[2], sys.argv[2:])"
    )
    with socket.socket(socket.AF_UNIX) as journal:
        journal.bind(path)
        journal.listen()
        journal.settimeout(10)
        launcher = [sys.executable, "-c", code, path]
        with start(log="stdout", launcher=launcher) as fpm, fpm.client("web.sock") as client:
            reader = journal.accept()[0]
            client.request("/?first", keep=True)
            reader.settimeout(10)
            assert reader.recv(100) == b"GET /?first 200 8\n"
            for number in range(500):
                uri = f"/?{number}." + "a" * 1000
                assert client.request(uri, keep=True).body == b"torture\n"
            fpm.log.wait_for("access log stdout: a line was lost: whoever reads it is too slow")
            reader.close()


def test_standard_output_in_a_file_keeps_the_lines_of_both_logs(tmp_path):
    """`pyfpm start >file 2>&1`: neither log writes over what the other wrote."""
    file = tmp_path / "both.log"
    launcher = ["/bin/sh", "-c", 'exec "$@" >"$0" 2>&1', str(file)]
    with start(log="stdout", launcher=launcher, wait_ready=False) as fpm:
        wait_until(lambda: any("ready to handle" in line for line in lines_of(file)), timeout_s=30)
        fetch(fpm.address("web.sock"), "/?first")
        wait_until(lambda: "GET /?first 200 8" in lines_of(file))
        assert fpm.command("reload").returncode == 0
        fetch(fpm.address("web.sock"), "/?second")
        wait_until(lambda: "GET /?second 200 8" in lines_of(file))
    assert {"GET /?first 200 8", "GET /?second 200 8"} <= set(lines_of(file))


def test_json_on_standard_error_is_one_object_a_line():
    """For containers; PHP-FPM's images write /proc/self/fd/2, and so may pyfpm's."""
    with start(log="/proc/self/fd/2", form="json", main="log_format = json") as fpm:
        fetch(fpm.address("web.sock"), '/a"b?x=\\', headers={"User-Agent": 'a"\x01\xff\\'})
        match = fpm.log.wait_for(r'\{.*"event":"request".*\}')
        line = json.loads(match[0])
        assert (line["pool"], line["method"], line["status"]) == ("web", "GET", 404)
        assert (line["uri"], line["user_agent"]) == ('/a"b?x=\\', 'a"\x01\\xff\\')
        assert fpm.command("reopen-logs").returncode == 0
        fetch(fpm.address("web.sock"), "/?after")
        fpm.log.wait_for(r'"uri":"/\?after"')
        for text in fpm.log.lines():
            assert json.loads(text)["pool"] in ("web", None)


def test_lines_of_a_web_server_in_the_combined_format_can_be_read_by_anybody():
    """Real nginx: what it passes on is in its place, and nobody forges a field."""
    site = "/"
    with start(form="combined") as fpm, Nginx(nginx_site({site: fpm.address("web.sock")})) as nginx:
        with nginx.client() as client:
            headers = {"User-Agent": 'x" 200 "-" "y', "Referer": "http://r/\\"}
            assert client.request("GET", "/echo?a=%22b", headers=headers).status == 200
            client.request("POST", "/echo", b"12345", headers={"User-Agent": "plain (agent)"})
        lines = wait_for_lines(fpm.folder / "access.log", 2)
        time_form = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
        forms = (
            r'"GET /echo\?a=%22b HTTP/1\.1" 200 0 "http://r/\\x5C" "x\\x22 200 \\x22-\\x22 \\x22y"',
            r'"POST /echo HTTP/1\.1" 200 5 "-" "plain \(agent\)"',
        )
        for line, form in zip(lines, forms, strict=True):
            assert re.fullmatch(rf"127\.0\.0\.1 - - {time_form} {form}", line), line


def test_worker_that_lies_about_lost_lines_floods_no_log():
    """The master counts what workers claim and speaks once a minute."""
    app = """\
import json, os, socket
def app(environ, start_response):
    word = json.dumps({"kind": "LinesLost", "lines": 2**31, "reason": "x\\n" * 1000}).encode()
    for number in os.listdir("/proc/self/fd"):
        try:
            link = socket.socket(fileno=os.dup(int(number)))
            if link.type == socket.SOCK_SEQPACKET and link.getpeername() == "":
                for _ in range(100):
                    link.send(word, socket.MSG_DONTWAIT)
        except OSError:
            pass
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
    with Pyfpm(make_pool(app="liar:app"), files={"liar.py": app}) as fpm:
        fetch(fpm.address("web.sock"))
        fpm.log.wait_for(r"lines were lost: x")
        fetch(fpm.address("web.sock"))
        assert len(fpm.log.find("access.log: .* lost")) == 1


LONG_BODIES = """\
import tempfile

SIZE = 1_000_003

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"]
    if path == "/list":
        return [b"x" * 100_000] * 10 + [b"abc"]
    if path == "/pieces":
        return iter([b"x" * 1_000_000, b"abc"])
    with tempfile.NamedTemporaryFile() as written:
        written.write(b"x" * SIZE)
        written.flush()
        return environ["wsgi.file_wrapper"](open(written.name, "rb"))
"""


@pytest.mark.parametrize("path", ["/list", "/pieces", "/file"])
def test_all_bytes_of_a_long_body_are_counted(path):
    """However it leaves: in groups of records, in pieces, or by sendfile."""
    pool = make_pool(app="long:app", form="%s %b")
    with Pyfpm(pool, files={"long.py": LONG_BODIES}) as fpm:
        assert len(fetch(fpm.address("web.sock"), path).body) == 1_000_003
        assert wait_for_lines(fpm.folder / "access.log", 1) == ["200 1000003"]
