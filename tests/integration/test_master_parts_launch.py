"""Fork and exec of a pool's interpreter: what the program finds when it begins."""

import os
import resource
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from harness.boot_documents import ORIGIN, make_boot_document

from pyfpm.master.attributes import Attributes
from pyfpm.master.identity import Identity
from pyfpm.master.launch import EXIT_LAUNCH_FAILED, LaunchPlan, launch
from pyfpm.messages import (
    BOOTSTRAP,
    MAX_MESSAGE_BYTES,
    BootFailed,
    InheritedDescriptor,
    decode_message,
)
from pyfpm.scoreboard import NOTICE_BYTES, SLOT_BYTES

NOBODY = Identity(None, None, (), "", "", None, False)
PACKAGE = Path(__file__).parents[2] / "pyfpm"


class Launched:
    """One launched program: its output, what it said on the control socket, how it ended."""

    def __init__(
        self, *argv, identity=NOBODY, directory="/", soft=1024, descriptors=None, env=None
    ):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, writer = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        plan = LaunchPlan(
            argv=argv,
            environment={"A": "1"} if env is None else env,
            directory=str(directory),
            identity=identity,
            descriptors={
                0: null,
                1: writer,
                2: writer,
                InheritedDescriptor.CONTROL: theirs.fileno(),
                **(descriptors or {}),
            },
            soft_file_limit=soft,
        )
        pid = launch(plan)
        for descriptor in (writer, null):
            os.close(descriptor)
        theirs.close()
        ours.settimeout(10)
        with os.fdopen(reader) as output:
            self.output = output.read()
        data = ours.recv(MAX_MESSAGE_BYTES)
        self.message = decode_message(data) if data else None
        ours.close()
        self.code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def fields(self):
        """Read the output as /proc/PID/status."""
        lines = (line.split(":", 1) for line in self.output.splitlines() if ":" in line)
        return {name: value.strip() for name, value in lines}


def run_python(code, **options):
    return Launched(os.path.realpath(sys.executable), "-I", "-S", "-c", code, **options)


@pytest.fixture
def odd_signals():
    """A process with handlers, ignored and blocked signals, as the master is one."""
    numbers = (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMAX)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *_: None)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_program_starts_with_default_signals_and_an_empty_mask(odd_signals):
    """An inherited SIG_IGN survives exec; an application with SIGPIPE ignored behaves otherwise."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    fields = Launched("/bin/cat", "/proc/self/status").fields()
    # Signals 32 and 33 belong to the C library: no program can set them, and a shell or a CI runner
    # may hand them down ignored.
    settable = ~(1 << 31 | 1 << 32)
    for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd"):
        assert int(fields[name], 16) & settable == 0, name
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN


def test_program_has_its_descriptors_and_no_other():
    """Nothing that the master opened leaks: no listener of another pool, no log."""
    own = [int(name) for name in os.listdir("/proc/self/fd")]
    given = {number for number in own if os.path.exists(f"/proc/self/fd/{number}")}
    given = {number for number in given if number > 3 and os.get_inheritable(number)}
    with open(os.devnull):
        launched = run_python(
            "import os\n"
            "for name in os.listdir('/proc/self/fd'):\n"
            "    if os.path.exists(f'/proc/self/fd/{name}'): print(name)"
        )
    found = {int(number) for number in launched.output.split()}
    # What the tests were started with is for everybody; what we opened since is not.
    assert found - given == {0, 1, 2, 3}


def test_descriptors_land_under_their_numbers_also_where_numbers_overlap():
    """Source 20 goes to 21 while source 21 goes to 20."""
    made = []
    for name in (b"one", b"two", b"three"):
        descriptor = os.memfd_create("x")
        os.write(descriptor, name)
        made.append(descriptor)
    one, two, three = made
    wanted = {one: two, two: three, three: one}
    content = {one: "two", two: "three", three: "one"}
    script = f"import os\nfor n in {sorted(made)}: print(n, os.pread(n, 9, 0).decode())"
    launched = run_python(script, descriptors=wanted)
    for descriptor in made:
        os.close(descriptor)
    found = dict(line.split() for line in launched.output.splitlines())
    assert found == {str(number): text for number, text in content.items()}


def test_descriptor_that_stays_under_its_number_is_open_in_the_program():
    """dup2 onto itself would keep close-on-exec, and the program would find nothing."""
    descriptor = os.memfd_create("x")
    launched = run_python(
        f"import os; print(os.fstat({descriptor}).st_size)", descriptors={descriptor: descriptor}
    )
    os.close(descriptor)
    assert (launched.output, launched.code) == ("0\n", 0)


def test_descriptor_limit_is_the_one_that_the_master_was_started_with():
    """The master raises its own; select() in an application breaks above 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        script = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
        launched = run_python(script, soft=200)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert launched.output == f"200 {hard}\n"


def test_environment_and_directory_are_those_of_the_plan(tmp_path):
    """And nothing of the master's environment."""
    script = "import os; print(os.getcwd(), sorted(os.environ))"
    launched = run_python(script, directory=tmp_path, env={"ONLY": "this"})
    found = launched.output.replace("'LC_CTYPE', ", "")  # what CPython sets by itself
    assert found == f"{tmp_path} ['ONLY']\n"


def test_identity_is_complete_when_the_program_begins(as_root):
    """All four ids, the groups, umask and no_new_privs, as the kernel tells them."""
    identity = Identity(12345, 23456, (23456, 34567), "ann", "/", 0o27, True)
    fields = Launched("/bin/cat", "/proc/self/status", identity=identity).fields()
    assert fields["Uid"].split() == ["12345"] * 4
    assert fields["Gid"].split() == ["23456"] * 4
    assert fields["Groups"].split() == ["23456", "34567"]
    assert (fields["Umask"], fields["NoNewPrivs"]) == ("0027", "1")
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0


def test_identity_leaves_nothing_to_come_back_to(as_root):
    """setuid(0) must fail: the saved ids are gone too."""
    identity = Identity(12345, 12345, (12345,), "ann", "/", None, False)
    script = (
        "import os\n"
        "for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):\n"
        "    try: call(); print('came back')\n"
        "    except PermissionError: print('refused')\n"
    )
    assert run_python(script, identity=identity).output == "refused\n" * 3


def test_pool_without_groups_loses_those_of_root(as_root):
    """Root's supplementary groups open files."""
    identity = Identity(12345, 12345, (12345,), "ann", "/", None, False)
    before = os.getgroups()
    os.setgroups([0, 4, 27])
    try:
        fields = Launched("/bin/cat", "/proc/self/status", identity=identity).fields()
    finally:
        os.setgroups(before)
    assert fields["Groups"].split() == ["12345"]


@pytest.mark.parametrize(
    ("argv", "options", "said"),
    [
        (["/no/such/python"], {}, "execute /no/such/python: No such file or directory"),
        ([os.devnull], {}, f"execute {os.devnull}: Permission denied"),
        (["/bin/true"], {"directory": "/no/such"}, "enter /no/such: No such file or directory"),
    ],
)
def test_failure_before_the_program_is_told_on_the_control_socket(argv, options, said):
    """The operator reads which step failed on what."""
    launched = Launched(*argv, **options)
    assert launched.message == BootFailed(said)
    assert (launched.code, launched.output) == (EXIT_LAUNCH_FAILED, "")


def test_folder_that_the_user_cannot_enter_is_told(as_root, tmp_path):
    """The identity is applied before the directory is entered, not after."""
    (tmp_path / "closed").mkdir(mode=0o700)
    identity = Identity(12345, 12345, (12345,), "ann", "/", None, False)
    launched = Launched("/bin/true", identity=identity, directory=tmp_path / "closed")
    assert launched.message == BootFailed(f"enter {tmp_path}/closed: Permission denied")


# -- the bootstrap ------------------------------------------------------------------------------


def zygote_descriptors(document, package, memory):
    """Map everything that a zygote expects; it makes no use of most of it before it forks."""
    unused = range(InheritedDescriptor.BOARD, InheritedDescriptor.LISTENERS)
    return dict.fromkeys(unused, memory) | {
        InheritedDescriptor.BOOT_DOCUMENT: document,
        InheritedDescriptor.PACKAGE: package,
    }


def boot(folder, module, *, identity=NOBODY, master_pid=None):
    """Launch a zygote for `module` in `folder` and return how its boot ended."""
    document = os.memfd_create("boot")
    made = make_boot_document(folder, module, "app", master_pid=master_pid or os.getpid())
    os.write(document, made.encode())
    os.lseek(document, 0, os.SEEK_SET)
    package = os.open(PACKAGE, os.O_PATH)
    memory = os.memfd_create("board or notice")
    os.truncate(memory, max(SLOT_BYTES, NOTICE_BYTES))
    try:
        return Launched(
            "/usr/bin/python3",
            "-c",
            BOOTSTRAP,
            directory=folder,
            identity=identity,
            descriptors=zygote_descriptors(document, package, memory),
        )
    finally:
        os.close(memory)
        os.close(document)
        os.close(package)


@pytest.fixture
def system_python():
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("no /usr/bin/python3 here")


REPORT = """
import sys, pyfpm, pyfpm.runtime.zygote, json, signal
found = [module.__file__ for module in (pyfpm, json, signal)]
raise RuntimeError(repr([*found, sorted({p for p in sys.path if 'site-packages' in p})]))
"""


def test_runtime_comes_from_the_master_and_the_standard_library_from_the_interpreter(
    system_python, tmp_path
):
    """Modules of the pool's folder shadow neither, though the folder is the current one."""
    for name in ("signal", "json", "socket", "dataclasses", "pyfpm", "encodings", "importlib"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'evil')!r}, 'w')\n")
    (tmp_path / "shop.py").write_text(REPORT)
    launched = boot(tmp_path, "shop")
    assert isinstance(launched.message, BootFailed), launched.output
    assert "RuntimeError: ['/proc/self/fd/5/__init__.py', '/usr/lib/" in launched.message.text
    assert not (tmp_path / "evil").exists()


def test_runtime_is_reached_where_the_user_could_not_walk(as_root, system_python, tmp_path):
    """The package may lie below /root: the descriptor needs no permission on the way."""
    tmp_path.chmod(0o755)
    (tmp_path / "shop.py").write_text("import os\nraise RuntimeError(f'as uid {os.getuid()}')\n")
    identity = Identity(12345, 12345, (12345,), "ann", "/", None, True)
    for folder in tmp_path.parents:
        if folder != Path("/tmp") and len(folder.parts) > 2:
            folder.chmod(0o755)
    launched = boot(tmp_path, "shop", identity=identity)
    assert isinstance(launched.message, BootFailed), launched.output
    assert "as uid 12345" in launched.message.text


def test_missing_module_is_reported_through_the_real_zygote(system_python, tmp_path):
    """From `app =` to the master's log line, in another interpreter."""
    launched = boot(tmp_path, "no_such_shop")
    assert launched.message == BootFailed(
        f"{ORIGIN}: app = no_such_shop:app: no module named 'no_such_shop' in {tmp_path}"
    )


def test_zygote_of_a_dead_master_ends_without_a_word(system_python, tmp_path):
    """Between fork and exec the master may have died; nothing may stay behind."""
    (tmp_path / "shop.py").write_text("app = print\n")
    launched = boot(tmp_path, "shop", master_pid=1)
    assert (launched.message, launched.code, launched.output) == (None, 0, "")


def test_master_with_many_descriptors_launches_a_pool_with_a_low_limit():
    """What is done between the fork and the exec may need descriptors below the pool's limit."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (old[1], old[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        own = int(Path("/proc/self/oom_score_adj").read_text())
        identity = replace(NOBODY, attributes=Attributes(oom_score_adj=min(own + 1, 1000)))
        launched = run_python("print(open('/proc/self/oom_score_adj').read())", identity=identity)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, old)
    assert (launched.message, launched.output.strip()) == (None, str(min(own + 1, 1000)))
