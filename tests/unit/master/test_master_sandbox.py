"""What a sandbox consists of: places, and walls that a kernel may lack."""

import os

import pytest
from pool_options import make_options

from pyfpm.errors import SpawnError
from pyfpm.kernel.landlock import (
    EXECUTE,
    READ,
    WRITE,
    Access,
    Scope,
    Support,
    known_access,
    missing_walls,
)
from pyfpm.master.interpreter_places import interpreter_places
from pyfpm.master.places import builtin_places
from pyfpm.master.private_folder import PrivateFolder
from pyfpm.master.sandbox import SandboxPlan, confine, places_of, plan_sandbox, survey_of
from pyfpm.master.survey import Survey

NEWEST = 7
LISTEN = "listen = /run/shop.sock"


def support(abi):
    return Support(abi, known_access(abi), Scope.every() if abi >= 6 else Scope(0))


@pytest.mark.parametrize(
    ("abi", "unknown"),
    [
        (1, Access.REFER | Access.TRUNCATE | Access.IOCTL_DEV),
        (2, Access.TRUNCATE | Access.IOCTL_DEV),
        (3, Access.IOCTL_DEV),
        (4, Access.IOCTL_DEV),
        (5, Access(0)),
        (6, Access(0)),
        (7, Access(0)),
        (99, Access(0)),
    ],
)
def test_rights_that_a_kernel_does_not_know_are_not_named_to_it(abi, unknown):
    """It would refuse the whole ruleset; and one of the future gets those that we know."""
    assert known_access(abi) == Access.every() & ~unknown


def test_kernel_without_landlock_knows_no_right():
    """Nothing is handled there."""
    assert known_access(0) == Access(0)


@pytest.mark.parametrize(
    ("abi", "words"),
    [
        (0, ["no Landlock"]),
        (2, ["truncating", "ioctl", "signals", "abstract"]),
        (4, ["ioctl", "signals", "abstract"]),
        (5, ["signals", "abstract"]),
        (6, []),
        (NEWEST, []),
    ],
)
def test_walls_that_a_kernel_lacks_are_named(abi, words):
    """One by one, with the Linux that has them."""
    found = missing_walls(support(abi))
    assert len(found) == len(words)
    for word, text in zip(words, found, strict=True):
        assert word in text
        assert "(Linux " in text


def test_kernel_with_one_scope_of_the_two_lacks_the_other():
    """There are kernels of distributions that claim an ABI and have half of it."""
    half = Support(6, known_access(6), Scope.ABSTRACT_UNIX_SOCKET)
    assert missing_walls(half) == ["signals to other processes (Linux 6.12)"]


def test_strict_sandbox_is_refused_where_a_wall_is_missing():
    """Before anything is given up, with what is missing and the way out."""
    plan = SandboxPlan(True, "/py", "/app", (), (), (), "")
    with pytest.raises(SpawnError) as caught:
        confine(plan, -1, support(5))
    assert str(caught.value) == (
        "this kernel (Landlock ABI 5) does not restrict signals to other processes (Linux 6.12),"
        " abstract Unix sockets of other processes (Linux 6.12): set sandbox = best-effort to go"
        " without"
    )


def test_best_effort_goes_without_a_sandbox_where_there_is_no_landlock():
    """Nothing is done, and nothing is refused."""
    plan = SandboxPlan(False, "/py", "/app", (), (), (), "")
    assert confine(plan, -1, support(0)) is None


@pytest.mark.parametrize("lines", [[], ["sandbox = off", "sandbox.read = /x"]])
def test_pool_without_a_sandbox_has_no_plan(tmp_path, lines):
    """Off, as where nothing is said."""
    assert plan_sandbox(make_options(tmp_path, LISTEN, *lines), "") is None


def test_plan_lists_what_the_pool_lists(tmp_path):
    """Each list with its key, for messages; writing includes reading, executing too."""
    lines = [
        "sandbox = best-effort",
        "sandbox.read = /r",
        "sandbox.write = /w",
        "sandbox.execute = /x",
    ]
    options = make_options(tmp_path, LISTEN, *lines)
    plan = plan_sandbox(options, "/tmp/own")
    assert plan is not None
    assert not plan.is_strict
    listed = {
        place.key: (place.path, place.access)
        for place in places_of(plan, survey_of(plan))
        if place.key
    }
    assert listed == {
        "sandbox.read": ("/r", READ),
        "sandbox.write": ("/w", WRITE),
        "sandbox.execute": ("/x", EXECUTE),
        "TMPDIR": ("/tmp/own", WRITE),
    }
    assert READ & WRITE == READ & EXECUTE == READ
    assert not WRITE & Access.EXECUTE


def test_interpreter_alone_is_executable(tmp_path):
    """No folder is, so nothing that lies beside the interpreter can be started."""
    (tmp_path / "base" / "bin").mkdir(parents=True)
    (tmp_path / "base" / "bin" / "python3.12").write_text("")
    (tmp_path / "base" / "bin" / "python3").symlink_to("python3.12")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    python = tmp_path / "venv" / "bin" / "python"
    python.symlink_to(tmp_path / "base" / "bin" / "python3")
    (tmp_path / "venv" / "pyvenv.cfg").write_text(f"home = {tmp_path}/base/bin\n")
    survey = Survey(os.geteuid(), ())
    places = {p.path: p.access for p in interpreter_places(survey, str(python))}
    executable = {path for path, access in places.items() if access & Access.EXECUTE}
    assert executable == {str(python), str(tmp_path / "base" / "bin" / "python3.12")}
    assert places[str(tmp_path / "venv")] == READ
    assert places[str(tmp_path / "base" / "lib")] == READ


def test_nothing_is_writable_but_the_null_device():
    """Built-in places are for reading."""
    places = builtin_places("/srv/app")
    assert [p.path for p in places if p.access & Access.WRITE_FILE] == ["/dev/null"]


@pytest.mark.parametrize(
    ("target", "opened"),
    [
        ("/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve"),
        ("/run/resolv.conf", None),
        ("/etc/resolv.conf", None),
    ],
)
def test_folder_of_the_resolver_is_opened_but_never_all_of_run(monkeypatch, target, opened):
    """In /run are the sockets and files of everybody."""
    found = {"/etc/resolv.conf": target}
    monkeypatch.setattr("pyfpm.master.places.os.path.realpath", found.get)
    in_run = {one.path for one in builtin_places("/srv") if "/run" in one.path}
    assert in_run - {target} == ({opened} if opened else set())


@pytest.mark.parametrize(
    ("root", "path"), [("", "/tmp/a"), ("/", "/tmp/a"), ("/srv/x", "/srv/x/tmp/a")]
)
def test_temporary_folder_has_an_absolute_path_inside_every_root(root, path):
    """A root folder may be `/` itself."""
    folder = object.__new__(PrivateFolder)
    folder.path, folder._root = path, root
    assert folder.path_inside == "/tmp/a"
