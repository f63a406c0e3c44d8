"""A pool in a sandbox: what it reaches, and what it does not, with the real processes."""

import json
import os
import pwd
import shutil
import socket
import stat

import pytest
from harness.machine import POOL_USER, make_venv, needs_sandbox
from harness.master import Pyfpm
from harness.processes import process_fields
from harness.sandbox_app import FILES, PROBE, Site, pool

pytestmark = needs_sandbox

PYTHON = "python = %(here)s/venv"
LISTS = """
sandbox.read = data/read
sandbox.write = data/write "data/with blank"
sandbox.execute = data/tool
"""
# In both: what both refuse would say nothing of the sandbox.
PTH = "import os, probe_of_start; probe_of_start.note()\n"
PROBE_OF_START = """\
import os
FOUND = {}
def note():
    for path in (%(outside)r, %(inside)r):
        try:
            FOUND[path] = open(path).read()
        except OSError as error:
            FOUND[path] = type(error).__name__
"""


def prepare(folder):
    """A venv, and data that the file modes alone give the pool's user all rights to."""
    venv = make_venv(folder / "venv")
    site = next(venv.glob("lib/python3*/site-packages"))
    (site / "start.pth").write_text(PTH)
    data = folder / "data"
    for name in ("read", "write", "with blank", "outside"):
        (data / name).mkdir(parents=True)
        (data / name / "file").write_text(f"text of {name}")
        (data / name / "file").chmod(0o666)
        (data / name).chmod(0o777)
    script = PROBE_OF_START % {
        "outside": str(data / "outside" / "file"),
        "inside": str(data / "read" / "file"),
    }
    (site / "probe_of_start.py").write_text(script)
    for name in ("tool", "other"):
        shutil.copy(os.path.realpath("/bin/echo"), data / name)


@pytest.fixture(scope="module")
def fpm():
    pools = pool(PYTHON, LISTS, name="closed")
    pools += pool(PYTHON, LISTS, "preload = off", name="late")
    pools += pool(PYTHON, name="open")
    with Pyfpm(pools, files=FILES, prepare=prepare) as running:
        yield running


@pytest.fixture(params=["closed", "late"])
def closed(request, fpm):
    """A sandboxed pool, whose workers were forked with the application or import it themselves."""
    return Site(fpm, request.param)


@pytest.fixture
def opened(fpm):
    """The same pool without a sandbox: the positive twin of everything that is refused."""
    return Site(fpm, "open")


def test_files_outside_the_lists_cannot_be_read(closed, opened, fpm):
    """Neither those of the system nor those whose modes admit everybody."""
    for path in ("/etc/passwd", "/etc/group", fpm.folder / "data/outside/file", fpm.config):
        assert closed.attempt("read", path) == "EACCES"
        assert len(opened.attempt("read", path)) > 5
    for path in ("/", "/etc", "/home", "/tmp", fpm.folder, "/proc", "/usr/bin"):
        assert closed.attempt("list", path) == "EACCES"
        assert isinstance(opened.attempt("list", path), list)


def test_what_is_listed_for_reading_is_read_and_not_written(closed, opened, fpm):
    """Folders with all below them."""
    folder = fpm.folder / "data/read"
    assert closed.attempt("read", folder / "file") == "text of read"
    assert closed.attempt("list", folder) == ["file"]
    for words in (
        ("write", folder / "file"),
        ("write", folder / "new"),
        ("truncate", folder / "file"),
        ("remove", folder / "file"),
        ("mkdir", folder / "new"),
        ("rename", folder / "file", folder / "other"),
        ("rename", folder / "file", fpm.folder / "data/write/moved"),
    ):
        assert closed.attempt(*words) in {"EACCES", "EXDEV"}, words
    assert (folder / "file").read_text() == "text of read"
    assert opened.attempt("mkdir", folder / "new") is None
    (folder / "new").rmdir()


def test_nothing_is_written_outside_the_lists(closed, opened, fpm):
    """Not beside the application, not in /tmp, not where everybody may."""
    for path in (fpm.folder / "data/outside/new", "/tmp/pyfpm-test-written", "/var/tmp/x"):
        assert closed.attempt("write", path) == "EACCES"
        assert not os.path.exists(path)
        assert opened.attempt("write", path) is None
        os.remove(path)
    assert closed.attempt("truncate", fpm.folder / "data/outside/file") == "EACCES"
    assert (fpm.folder / "data/outside/file").read_text() == "text of outside"


@pytest.mark.parametrize("name", ["write", "with blank"])
def test_what_is_listed_for_writing_is_changed_in_every_way(closed, fpm, name):
    """Made, cut, renamed, moved between folders, removed; and read."""
    folder = fpm.folder / "data" / name
    assert closed.attempt("read", folder / "file") == f"text of {name}"
    assert closed.attempt("write", folder / "new") is None
    assert closed.attempt("mkdir", folder / "deep") is None
    assert closed.attempt("rename", folder / "new", folder / "deep/new") is None
    assert closed.attempt("truncate", folder / "deep/new") is None
    assert closed.attempt("remove", folder / "deep/new") is None
    (folder / "deep").rmdir()
    temporary = closed.attempt("temporary")
    assert closed.attempt("rename", temporary, folder / "from-temporary") is None
    assert closed.attempt("remove", folder / "from-temporary") is None


def test_other_programs_cannot_be_executed(closed, opened, fpm):
    """Not a shell, not a tool, not the same bytes beside the one that is listed."""
    other = fpm.folder / "data/other"
    for program in ("/bin/sh", "/bin/ls", "/usr/bin/env", other):
        assert closed.attempt("run", program, "--version") == "EACCES"
        assert isinstance(opened.attempt("run", program, "--version"), str)
    # What an application writes is not what it can start.
    written = fpm.folder / "data/write/tool"
    written.write_bytes(other.read_bytes())
    written.chmod(0o755)
    assert closed.attempt("run", written, "hello") == "EACCES"
    assert opened.attempt("run", written, "hello") == "hello\n"
    written.unlink()


def test_listed_program_and_the_interpreter_are_executed(closed, fpm):
    """With their loader and their libraries; inside of the same sandbox."""
    assert closed.attempt("run", fpm.folder / "data/tool", "hello") == "hello\n"
    assert closed.attempt("spawn", "print(6 * 7)") == "42\n"
    code = "try: open('/etc/passwd')\nexcept PermissionError: print('refused')"
    assert closed.attempt("spawn", code) == "refused\n"


def test_pth_file_of_the_venv_runs_inside(closed, opened, fpm):
    """The first code of the pool that runs at all is confined already."""
    code = "import json, probe_of_start; print(json.dumps(probe_of_start.FOUND))"
    inside, outside = (str(fpm.folder / "data" / name / "file") for name in ("read", "outside"))
    found = {inside: "text of read", outside: "PermissionError"}
    assert json.loads(closed.attempt("spawn", code)) == found
    assert json.loads(opened.attempt("spawn", code))[outside] == "text of outside"


def test_zygotes_own_pth_run_was_inside():
    """Not only that of an interpreter which a worker starts: the zygote's, before the import."""
    app = PROBE + "import probe_of_start\nOPERATIONS['pth'] = lambda: probe_of_start.FOUND\n"
    with Pyfpm(pool(PYTHON, LISTS), files={"probe.py": app}, prepare=prepare) as running:
        found = Site(running, "a").attempt("pth")
        assert found[str(running.folder / "data/outside/file")] == "PermissionError"
        assert found[str(running.folder / "data/read/file")] == "text of read"


def test_what_every_application_needs_works(closed, opened):
    """Certificates, names, time zones, file types, processes, the null device."""
    assert closed.attempt("modules") == opened.attempt("modules") == "image/png"
    assert closed.attempt("write", "/dev/null") is None
    assert closed.attempt("read", "/etc/hosts") == opened.attempt("read", "/etc/hosts")
    assert closed.attempt("import", "probe") == opened.attempt("import", "probe")


def test_sqlite_needs_its_folder_in_the_list(closed, opened, fpm):
    """The journal lies beside the file."""
    assert closed.attempt("database", fpm.folder / "data/write/base.sqlite") > 0
    assert opened.attempt("database", fpm.folder / "data/write/base.sqlite") > 1


def test_processes_outside_get_no_signal(closed, opened, fpm):
    """Not even of the same user; those of the pool itself do."""
    other = opened.attempt("pid")
    assert closed.attempt("kill", other) == "EPERM"
    assert closed.attempt("kill", closed.attempt("pid")) is None
    assert opened.attempt("kill", closed.attempt("pid")) is None


def test_abstract_sockets_outside_are_not_reached(closed, opened):
    """They have no file whose mode could refuse."""
    name = f"pyfpm-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        assert closed.attempt("connect", name) == "EPERM"
        assert opened.attempt("connect", name) is None


def test_proc_of_other_processes_stays_closed(closed, opened, fpm):
    """Which costs a worker its own: the documented limit."""
    for path in ("/proc/1/status", f"/proc/{fpm.process.pid}/cmdline", "/proc/self/status"):
        assert closed.attempt("read", path) == "EACCES"
        assert len(opened.attempt("read", path)) > 5


def test_temporary_folder_is_private(closed, fpm):
    """Where TMPDIR points: the pool's user's, for nobody else, and nobody else's."""
    folder = closed.attempt("environ", "TMPDIR")
    facts = os.lstat(folder)
    assert stat.S_ISDIR(facts.st_mode)
    assert stat.S_IMODE(facts.st_mode) == 0o700
    user = pwd.getpwnam(POOL_USER).pw_uid if os.getuid() == 0 else os.getuid()
    assert facts.st_uid == user
    assert os.path.dirname(closed.attempt("temporary")) == folder
    other = Site(fpm, "late" if closed.address.endswith("closed.sock") else "closed")
    assert closed.attempt("list", other.attempt("environ", "TMPDIR")) == "EACCES"
    assert Site(fpm, "open").attempt("environ", "TMPDIR") is None


def test_all_processes_of_the_pool_are_confined(fpm):
    """Zygote and worker have no_new_privs, and their loader and runtime worked all the same."""
    pids = [fpm.zygote_pid("closed"), *fpm.worker_pids("closed")]
    assert len(pids) == 2
    assert {process_fields(pid)["NoNewPrivs"] for pid in pids} == {"1"}


def test_zygote_holds_its_own_folder_of_proc(fpm):
    """The kernel makes the files there anew once nobody holds them, and no rule is for those.

    It does so when memory runs short, which is no moment to lose the look at threads in.
    """
    zygote = fpm.zygote_pid("closed")
    folder = f"/proc/{zygote}/fd"
    assert f"/proc/{zygote}" in {os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}


def test_interpreter_of_another_place_starts(fpm):
    """The system's own, without a venv: its standard library and its configuration are readable."""
    if not os.path.exists("/usr/bin/python3"):
        pytest.skip("no /usr/bin/python3")
    text = pool("python = /usr/bin/python3", "sandbox = on")
    with Pyfpm(text, files=FILES) as running:
        assert Site(running, "a").attempt("read", "/etc/passwd") == "EACCES"
        assert "Traceback" not in running.log.text()
        assert "Error in sitecustomize" not in running.log.text()
