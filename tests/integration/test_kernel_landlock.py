"""Landlock: what is refused once a ruleset holds, and what is not."""

import ctypes
import errno
import os
import signal
import socket

import pytest
from forked import run_in_child

from pyfpm.kernel.landlock import (
    EXECUTE,
    READ,
    WRITE,
    Access,
    Ruleset,
    Scope,
    Support,
    known_access,
    read_support,
)
from pyfpm.kernel.prctl import set_no_new_privs

SUPPORT = read_support()
pytestmark = pytest.mark.skipif(not SUPPORT.abi, reason="this kernel has no Landlock")


def needs(abi):
    return pytest.mark.skipif(abi > SUPPORT.abi, reason=f"this kernel has no Landlock ABI {abi}")


def confine(rules, support=SUPPORT):
    """Give up everything but these rights, path by path."""
    set_no_new_privs()
    ruleset = Ruleset(support)
    for path, access in rules.items():
        descriptor = os.open(path, os.O_PATH)
        ruleset.allow(descriptor, access)
        os.close(descriptor)
    ruleset.enforce()
    ruleset.close()


def refusal(work):
    """The name of the error that `work` ends with; empty if it does not."""
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""


@pytest.fixture
def folders(tmp_path):
    """Two folders with a file each."""
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("text")
    return tmp_path / "inside", tmp_path / "outside"


def test_kernel_says_what_it_supports():
    """An ABI, and the rights that belong to it."""
    assert SUPPORT.abi >= 1
    assert SUPPORT.access == known_access(SUPPORT.abi)


@pytest.mark.parametrize("abi", range(1, 8))
def test_ruleset_of_every_abi_is_enforced(folders, abi):
    """On a newer kernel as on one that knows no more: reading and writing are refused."""
    if abi > SUPPORT.abi:
        pytest.skip(f"this kernel has no Landlock ABI {abi}")
    inside, outside = folders

    def check():
        scopes = SUPPORT.scopes if abi >= 6 else Scope(0)
        confine({inside: WRITE}, Support(abi, known_access(abi), scopes))
        assert refusal((inside / "file").read_text) == ""
        assert refusal(lambda: (inside / "new").write_text("")) == ""
        assert refusal((outside / "file").read_text) == "EACCES"
        assert refusal(lambda: (outside / "new").write_text("")) == "EACCES"
        assert refusal(lambda: os.listdir(outside)) == "EACCES"

    run_in_child(check)


def test_reading_is_not_writing(folders):
    """A readable folder is not changed in any way."""
    inside, _ = folders

    def check():
        confine({inside: READ})
        assert (inside / "file").read_text() == "text"
        for work in (
            lambda: (inside / "file").open("a"),
            lambda: os.truncate(inside / "file", 0),
            lambda: os.remove(inside / "file"),
            (inside / "new").mkdir,
            lambda: (inside / "new").symlink_to("file"),
            lambda: (inside / "file").rename(inside / "other"),
            lambda: os.link(inside / "file", inside / "other"),
        ):
            assert refusal(work) == "EACCES"

    run_in_child(check)
    assert os.listdir(inside) == ["file"]


@needs(3)
def test_truncating_is_writing(folders):
    """Since ABI 3; a file that may be written may be cut, by either call."""
    inside, outside = folders

    def check():
        confine({inside: WRITE, outside: READ})
        os.truncate(inside / "file", 1)
        with (inside / "file").open("r+") as file:
            file.truncate(0)
        assert refusal(lambda: os.truncate(outside / "file", 1)) == "EACCES"

    run_in_child(check)
    assert (outside / "file").read_text() == "text"


@needs(2)
def test_files_move_between_writable_folders_and_nowhere_else(folders):
    """Since ABI 2; between a writable and a readable one they do not."""
    inside, outside = folders
    (inside / "deeper").mkdir()

    def check():
        confine({inside: WRITE, outside: READ})
        (inside / "file").rename(inside / "deeper" / "file")
        os.link(inside / "deeper" / "file", inside / "file")
        assert refusal(lambda: (inside / "file").rename(outside / "x")) in {"EACCES", "EXDEV"}
        assert refusal(lambda: (outside / "file").rename(inside / "x")) in {"EACCES", "EXDEV"}

    run_in_child(check)


def test_rule_for_a_file_is_for_that_file_alone(folders):
    """Rights that only folders can have are left out, not refused; the neighbour stays closed."""
    inside, _ = folders
    (inside / "neighbour").write_text("text")

    def check():
        confine({inside / "file": WRITE})
        (inside / "file").write_text("new")
        assert refusal((inside / "neighbour").read_text) == "EACCES"

    run_in_child(check)


def test_descriptor_that_is_open_stays_usable(folders):
    """As listeners, pipes and logs do."""
    _, outside = folders
    with (outside / "file").open("r+") as file:

        def check():
            confine({})
            assert file.read() == "text"
            file.write("more")

        run_in_child(check)


def test_program_is_executed_only_where_that_is_allowed():
    """Its loader too; shared libraries are only read, although they are mapped as code."""
    libraries = {path: READ for path in ("/lib", "/usr/lib", "/lib64") if os.path.exists(path)}
    loaders = [f"/lib64/{name}" for name in os.listdir("/lib64") if name.startswith("ld-")]
    program = os.path.realpath("/bin/true")

    def run(rules):
        """The exit code, or how the exec failed."""
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        try:
            confine(rules)
            os.execv(program, ["true"])
        except OSError as error:
            os._exit(error.errno)

    every = libraries | dict.fromkeys(loaders, EXECUTE) | {program: EXECUTE}
    assert run(every) == 0
    assert run(every | {program: READ}) == errno.EACCES
    assert run({program: EXECUTE} | libraries) == errno.EACCES


@needs(5)
def test_ioctl_of_a_device_needs_the_right_to_write():
    """TCGETS on /dev/tty0-like files is a wall of ABI 5; /dev/null shows it harmlessly."""
    tcgets = 0x5401
    libc = ctypes.CDLL(None, use_errno=True)

    def ioctl_error(path):
        with open(path, "rb") as device:
            libc.ioctl(device.fileno(), tcgets, ctypes.create_string_buffer(256))
            return ctypes.get_errno()

    def check():
        confine({"/dev/null": WRITE, "/dev/zero": READ})
        assert ioctl_error("/dev/null") == errno.ENOTTY
        assert ioctl_error("/dev/zero") == errno.EACCES

    run_in_child(check)


@needs(6)
def test_signals_and_abstract_sockets_stay_inside():
    """To processes outside they are refused; among those inside nothing changes."""
    name = f"\0pyfpm-test-{os.getpid()}"
    parent = os.getpid()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()

        def reach():
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)

        def check():
            assert refusal(lambda: os.kill(parent, 0)) == ""
            assert refusal(reach) == ""
            confine({})
            assert refusal(lambda: os.kill(parent, 0)) == "EPERM"
            assert refusal(reach) == "EPERM"
            child = os.fork()
            if child == 0:
                signal.pause()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

        run_in_child(check)


def test_rule_for_own_proc_is_no_rule_for_a_childs():
    """It is the fact that the sandbox of a pool has to live with: workers are forked later."""

    def check():
        holder = os.open("/proc/self", os.O_PATH)
        set_no_new_privs()
        ruleset = Ruleset(SUPPORT)
        ruleset.allow(holder, READ)
        ruleset.enforce()
        assert refusal(lambda: open("/proc/self/statm").close()) == ""
        assert refusal(lambda: open("/proc/1/statm").close()) == "EACCES"
        child = os.fork()
        if child == 0:
            os._exit(refusal(lambda: open("/proc/self/statm").close()) != "EACCES")
        assert os.waitpid(child, 0)[1] == 0

    run_in_child(check)


def test_without_no_new_privs_an_unprivileged_process_is_refused(as_root):
    """The kernel's condition, and the reason why the configuration insists on it."""

    def check():
        os.setresuid(12345, 12345, 12345)
        ruleset = Ruleset(SUPPORT)
        assert refusal(ruleset.enforce) == "EPERM"
        set_no_new_privs()
        ruleset.enforce()

    run_in_child(check)


def test_every_right_has_a_number_of_its_own():
    """Sixteen up to ABI 5."""
    assert len(Access) == 16
    assert Access.every() == sum(Access)
