"""Where the access log may go, who opens it, and what is said of lines that were lost."""

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import sys

import pytest
from harness.access_log import lines_of, make_pool, start, wait_for_lines
from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm


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
