"""What a configuration asks of the machine: users, folders and interpreters that exist and open."""

import os
import pwd
import shutil
import tempfile
from dataclasses import replace

import pytest

from pyfpm.config import POOL, load_config
from pyfpm.config.draft import Draft
from pyfpm.config.places import check_pool as check_places
from pyfpm.config.reach import Person, find_refusal
from pyfpm.config.source import Section
from pyfpm.errors import ConfigError

STRANGER = Person("stranger", 54321, frozenset({54321}))


@pytest.fixture
def place():
    """A folder that every user can enter, unlike tmp_path."""
    path = tempfile.mkdtemp(prefix="pyfpm-test-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def make_folder(path, mode=0o755):
    """A folder with a mode, whatever the umask."""
    os.mkdir(path)
    os.chmod(path, mode)
    return path


def make_file(path, mode=0o755):
    """An empty file with a mode, whatever the umask."""
    with open(path, "w"):
        os.chmod(path, mode)
    return path


def load(place, *lines, is_root=True, allow_root=False):
    """A configuration of one pool `a` whose application is in `place`."""
    text = "\n".join(["[pool:a]", "app = a:b", f"listen = {place}/a.sock", *lines])
    return load_config(f"{place}/f", {}, is_root=is_root, allow_root=allow_root, text=text)


def problems_of(place, *lines, **options):
    """The problems of such a configuration, without their files."""
    with pytest.raises(ConfigError) as caught:
        load(place, *lines, **options)
    return [str(problem).removeprefix(f"{place}/f:") for problem in caught.value.problems]


def test_user_who_reaches_everything_has_no_problem(place):
    """An unprivileged user, its folder and an interpreter that everybody may execute."""
    pool = load(place, "user = nobody", "python = /bin/sh").pools["a"]
    assert (pool.user, pool.directory, pool.python) == ("nobody", place, "/bin/sh")


def test_root_master_without_a_user_is_refused(place):
    """A forgotten `user` must not make an application run as root."""
    assert problems_of(place, "python = /bin/sh") == [
        (
            "1: [pool:a] user: is required, since the master is root; name one, or start with"
            " --allow-root"
        )
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            ["user = root"],
            "4: [pool:a] user: root is root; name another, or start with --allow-root",
        ),
        (["user = 0"], "4: [pool:a] user: 0 is root; name another, or start with --allow-root"),
        (
            ["user = nobody", "group = root"],
            "5: [pool:a] group: root is root's group; name another, or start with --allow-root",
        ),
        (
            ["user = nobody", "extra_groups = 0"],
            "5: [pool:a] extra_groups: 0 is root's group; name another, or start with --allow-root",
        ),
    ],
)
def test_root_by_any_name_needs_allow_root(place, lines, problem):
    """User 0 and group 0 are refused however they are written, and admitted with --allow-root."""
    assert problems_of(place, *lines, "python = /bin/sh") == [problem]
    assert load(place, *lines, "python = /bin/sh", allow_root=True).pools


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("user = no-such", "4: [pool:a] user: there is no user no-such"),
        ("user = 4294967294", "4: [pool:a] user: there is no user 4294967294"),
        ("group = no-such", "4: [pool:a] group: there is no group no-such"),
        ("extra_groups = no-such", "4: [pool:a] extra_groups: there is no group no-such"),
        ("listen.owner = no-such", "4: [pool:a] listen.owner: there is no user no-such"),
        ("listen.group = no-such", "4: [pool:a] listen.group: there is no group no-such"),
    ],
)
def test_unknown_names_are_refused(place, line, problem):
    """Every user and group must exist on this machine."""
    found = problems_of(place, line, "python = /bin/sh", allow_root=True)
    assert found == [f"{problem}; create it or name another"]


def test_unknown_owner_of_the_control_socket_is_refused(place):
    """The names in [pyfpm] count too."""
    lines = ["python = /bin/sh", "[pyfpm]", "control.owner = no-such"]
    assert problems_of(place, *lines, allow_root=True) == [
        "6: [pyfpm] control.owner: there is no user no-such; create it or name another"
    ]


def test_identity_is_ignored_with_a_notice_when_the_master_is_not_root(place):
    """One notice a key, even for names that this machine does not know."""
    config = load(place, "user = no-such", "group = no-such", "umask = 022", is_root=False)
    assert [str(notice).removeprefix(f"{place}/f:") for notice in config.notices] == [
        "4: [pool:a] user: is ignored, since the master is not root",
        "5: [pool:a] group: is ignored, since the master is not root",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("directory = none", "directory: {place}/none does not exist; create it or name another"),
        ("directory = f", "directory: {place}/f is not a folder; create it or name another"),
        (
            "python = none",
            "python: {place}/none does not exist; name an interpreter or the folder of a venv",
        ),
        ("python = f", "python: {place}/f is not executable; name an interpreter"),
        (
            "python = venv",
            (
                "python: {place}/venv is a venv without Python;"
                " make it with `python3 -m venv {place}/venv`"
            ),
        ),
        (
            "python = .",
            "python: {place} is not a venv, it has no bin/python; name an interpreter or a venv",
        ),
    ],
)
def test_missing_folder_or_interpreter_is_refused(place, line, problem):
    """What is missing, and what to do about it."""
    make_file(f"{place}/f", 0o644)
    make_folder(f"{place}/venv")
    make_folder(f"{place}/venv/lib")
    found = (
        problems_of(place, "user = nobody", "python = /bin/sh", line)
        if ("directory" in line)
        else problems_of(place, line, allow_root=True)
    )
    assert [text.partition(" [pool:a] ")[2] for text in found] == [problem.format(place=place)]


def test_venv_folder_becomes_its_interpreter(place):
    """`python` may name the folder; a link is not resolved, or the venv would be lost."""
    os.makedirs(f"{place}/venv/bin")
    os.symlink("/bin/sh", f"{place}/venv/bin/python")
    pool = load(place, "python = venv", allow_root=True).pools["a"]
    assert pool.python == f"{place}/venv/bin/python"


def test_folder_that_the_user_cannot_enter_is_named_first(place):
    """The first folder on the way that refuses, not the application's own."""
    make_folder(f"{place}/closed", 0o700)
    make_folder(f"{place}/closed/app")
    assert problems_of(place, "user = nobody", "python = /bin/sh", "directory = closed/app") == [
        (
            f"6: [pool:a] directory: user nobody cannot enter {place}/closed (mode 0700), on the"
            f" way to {place}/closed/app; run `chmod o+x {place}/closed`, or move the application"
            " elsewhere"
        )
    ]


def test_application_folder_must_be_readable_too(place):
    """Python lists a folder to find modules in it."""
    make_folder(f"{place}/app", 0o711)
    assert problems_of(place, "user = nobody", "python = /bin/sh", "directory = app") == [
        (
            f"6: [pool:a] directory: user nobody cannot read {place}/app (mode 0711);"
            f" run `chmod o+r {place}/app`, or move the application elsewhere"
        )
    ]


def test_interpreter_behind_a_closed_folder_is_refused(place):
    """The folder behind the venv's link counts as well."""
    make_folder(f"{place}/closed", 0o750)
    make_file(f"{place}/closed/python3")
    make_folder(f"{place}/bin")
    os.symlink("../closed/python3", f"{place}/bin/python")
    assert problems_of(place, "user = nobody", "python = bin/python") == [
        (
            f"5: [pool:a] python: user nobody cannot enter {place}/closed (mode 0750), on the way"
            f" to {place}/bin/python; run `chmod o+x {place}/closed`,"
            " or name an interpreter elsewhere"
        )
    ]


def test_default_interpreter_out_of_reach_asks_for_python(place):
    """The master's own interpreter is the default; a pool that cannot reach it needs another."""
    closed = make_folder(f"{place}/closed", 0o700)
    make_file(f"{closed}/python")
    pool = load(place, "python = /bin/sh", "user = nobody").pools["a"]
    draft = Draft(POOL, Section("pool:a", "f", 7), pool="a")
    found = check_places(draft, replace(pool, python=f"{closed}/python"), is_root=True)
    assert [str(problem) for problem in found] == [
        (
            "f:7: [pool:a] python: the default is the master's own interpreter, and user nobody"
            f" cannot enter {closed} (mode 0700), on the way to {closed}/python;"
            f" run `chmod o+x {closed}`,"
            " or set python = to an interpreter or venv that nobody can reach"
        )
    ]


def test_nothing_of_the_machine_is_looked_at_without_check_system(place):
    """A client of the master may not see what the master's pools see."""
    text = "[pool:a]\napp = a:b\nlisten = /a\nuser = no-such\ndirectory = none\npython = none\n"
    config = load_config(f"{place}/f", {}, is_root=True, check_system=False, text=text)
    assert config.notices == ()


@pytest.mark.parametrize(
    ("mode", "person", "refused"),
    [
        (0o700, Person("owner", os.getuid() or 1, frozenset()), False),
        (0o077, Person("owner", os.getuid() or 1, frozenset()), True),
        (0o710, Person("member", 54321, frozenset({12345})), False),
        (0o701, Person("member", 54321, frozenset({12345})), True),
        (0o701, STRANGER, False),
        (0o776, STRANGER, True),
        (0o000, Person("root", 0, frozenset()), False),
    ],
)
def test_the_first_class_that_fits_decides(place, mode, person, refused):
    """Owner, group, others: only the first that the user belongs to is asked; root never."""
    if os.geteuid() != 0:
        pytest.skip("needs root to give folders to others")
    make_folder(f"{place}/d", mode)
    os.chown(f"{place}/d", os.getuid() or 1, 12345)
    make_file(f"{place}/d/python")
    refusal = find_refusal(f"{place}/d/python", person, "x")
    assert (refusal is not None) is refused
    if refusal:
        assert refusal.path == f"{place}/d"


def test_remedy_opens_the_class_that_decides(place):
    """Opening others does not help the owner."""
    os.mkdir(f"{place}/d")
    os.chmod(f"{place}/d", 0o077)
    owner = Person("owner", os.stat(place).st_uid or 54321, frozenset())
    if os.geteuid() == 0:
        os.chown(f"{place}/d", 54321, 54321)
    refusal = find_refusal(f"{place}/d", owner, "rx")
    os.chmod(f"{place}/d", 0o700)
    assert refusal is not None
    assert refusal.remedy() == f"chmod u+rx {place}/d"


def test_links_are_followed_step_by_step(place):
    """A way through `..`, relative and absolute links and the folders behind them."""
    make_folder(f"{place}/a")
    make_folder(f"{place}/secret", 0o711)
    make_file(f"{place}/secret/python")
    os.symlink(f"{place}/secret", f"{place}/a/absolute")
    os.symlink("../a/./absolute/python", f"{place}/a/python")
    assert find_refusal(f"{place}/a/python", STRANGER, "x") is None
    os.chmod(f"{place}/secret", 0o700)
    refusal = find_refusal(f"{place}/a/python", STRANGER, "x")
    assert refusal is not None
    assert refusal.path == f"{place}/secret"


def test_links_in_a_circle_end(place):
    """ELOOP is for whoever opens the path."""
    os.symlink("b", f"{place}/a")
    os.symlink("a", f"{place}/b")
    assert find_refusal(f"{place}/a", STRANGER, "x") is None


def test_file_that_is_not_executable_for_the_user_is_named(place):
    """The last step counts as well."""
    make_file(f"{place}/python", 0o744)
    refusal = find_refusal(f"{place}/python", STRANGER, "x")
    assert refusal is not None
    assert (refusal.path, refusal.is_folder, refusal.letters) == (f"{place}/python", False, "x")


def test_users_exist_for_these_tests():
    """`nobody` is the unprivileged user of every Linux distribution."""
    assert pwd.getpwnam("nobody").pw_uid != 0


def test_last_folder_of_the_pid_file_may_be_missing(place):
    """The master makes it, as that of a socket: /run is empty after a restart of the machine."""
    lines = ("user = nobody", "python = /bin/sh", "[pyfpm]")
    assert load(place, *lines, "pid = run/fpm.pid").main.pid == f"{place}/run/fpm.pid"
    assert os.listdir(place) == []
    assert problems_of(place, *lines, "pid = a/b/fpm.pid") == [
        f"7: [pyfpm] pid: there is no folder {place}/a; make it, or name another file"
    ]
    make_file(f"{place}/run")
    assert problems_of(place, *lines, "pid = run/fpm.pid") == [
        f"7: [pyfpm] pid: there is no folder {place}/run; make it, or name another file"
    ]


def test_every_processor_that_is_missing_is_named(place):
    """All of them at once, as ranges."""
    (problem,) = problems_of(
        place, "user = nobody", "python = /bin/sh", "process.cpu_affinity = 0, 5000-5003, 6000"
    )
    assert "process.cpu_affinity: there is no processor 5000-5003,6000; the machine's " in problem


@pytest.mark.parametrize("line", ["directory = app", "python = bin/python3"])
def test_relative_path_in_a_root_folder_is_one_error(place, line):
    """What follows from it is none of its own."""
    make_folder(f"{place}/root")
    found = problems_of(place, "user = nobody", f"chroot = {place}/root", line)
    key = line.partition(" ")[0]
    assert sum(f"{key}: " in problem for problem in found) == 1


def test_what_stands_where_a_socket_should_is_not_to_be_removed_lightly(place):
    """The message may be read at night: it does not tell anybody to remove /etc/passwd."""
    lines = ("user = nobody", "python = /bin/sh", "[pyfpm]")
    (problem,) = problems_of(place, *lines, "control = /etc/passwd")
    assert problem == (
        "7: [pyfpm] control: /etc/passwd is there and is no socket, so it is left alone;"
        " name another path, or remove it if nobody needs it"
    )
    (problem,) = problems_of(place, *lines, f"control = {place}")
    assert problem == f"7: [pyfpm] control: {place} is a folder; name a socket in it"
