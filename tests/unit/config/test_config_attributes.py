"""Keys for limits, priority, OOM score, processors and root folder: values, rules, checks."""

import os
import resource

import pytest

from pyfpm.config import load_config, render_dump, restore_pool, snapshot_options
from pyfpm.config.reach import Person, find_refusal, locate
from pyfpm.config.values import format_processors, parse_processors
from pyfpm.errors import ConfigError
from pyfpm.kernel.process import is_above

STRANGER = Person("stranger", 54321, frozenset({54321}))


def load(*lines, is_root=True, check_system=False, folder=""):
    """A configuration of one pool `a` for a machine with four processors."""
    text = "\n".join(["[pool:a]", "app = a:b", "listen = /run/a.sock", "user = nobody", *lines])
    path = f"{folder}/f" if folder else "f"
    return load_config(path, {}, is_root=is_root, check_system=check_system, cores=4, text=text)


def problems_of(*lines, **options):
    """The problems of such a configuration, without the file."""
    with pytest.raises(ConfigError) as caught:
        load(*lines, **options)
    return [str(problem).partition(": ")[2] for problem in caught.value.problems]


def notices_of(*lines, **options):
    return [str(notice).partition("] ")[2] for notice in load(*lines, **options).notices]


@pytest.mark.parametrize(
    ("line", "field", "value", "written"),
    [
        ("chroot = /srv/root", "chroot", "/srv/root", "/srv/root"),
        ("process.priority = -20", "process_priority", -20, "-20"),
        ("process.priority = 20", "process_priority", 19, "19"),
        ("process.dumpable = yes", "process_dumpable", True, "yes"),
        ("process.oom_score_adj = -1000", "process_oom_score_adj", -1000, "-1000"),
        ("process.cpu_affinity = 6 0-2,1", "process_cpu_affinity", (0, 1, 2, 6), "0-2,6"),
        ("rlimit_files = 64", "rlimit_files", 64, "64"),
        ("rlimit_core = Unlimited", "rlimit_core", -1, "unlimited"),
        ("rlimit_core = 0", "rlimit_core", 0, "0"),
        ("rlimit_as = 2GiB", "rlimit_as", 2 << 30, "2G"),
        ("rlimit_nproc = 30", "rlimit_nproc", 30, "30"),
    ],
)
def test_value_is_read_written_and_handed_to_a_next_master(line, field, value, written):
    """In the options, in the dump, and back from a snapshot."""
    config = load(line)
    pool = config.pools["a"]
    assert getattr(pool, field) == value
    assert f"{line.partition(' ')[0]} = {written}" in render_dump(config)
    assert restore_pool("a", snapshot_options(pool)) == pool


def test_nothing_is_set_unless_the_pool_sets_it():
    """And no process may be traced."""
    pool = load().pools["a"]
    unset = (
        pool.chroot,
        pool.process_priority,
        pool.process_oom_score_adj,
        pool.process_cpu_affinity,
        pool.rlimit_files,
        pool.rlimit_core,
        pool.rlimit_as,
        pool.rlimit_nproc,
    )
    assert unset == (None,) * 8
    assert pool.process_dumpable is False


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("process.priority = 21", "21 is out of range; write a number from -20 to 19"),
        ("process.priority = low", "'low' is not a whole number; write one from -20 to 19"),
        ("process.oom_score_adj = 1001", "1001 is out of range; write a number from -1000 to 1000"),
        ("process.dumpable = maybe", "'maybe' is neither yes nor no; write yes or no"),
        (
            "process.cpu_affinity = 3-1",
            "'3-1' is no processor and no range of them; write 0-3,6",
        ),
        ("process.cpu_affinity = ,", "the value is empty; write the processors as 0-3,6"),
        ("rlimit_files = 63", "63 is out of range; write a number from 64 to 2147483647"),
        ("rlimit_files = unlimited", "'unlimited' is not a whole number; write one from 64 to"),
        ("rlimit_core = -1", "'-1' is not a size; write it as 512, 64KB, 1M or 1GiB"),
        ("rlimit_as = 8388608T", "'8388608T' is more than the kernel can count; write unlimited"),
        ("rlimit_nproc = 0", "0 is out of range; write a number from 1"),
        ("umask = 9", "'9' is not a umask; write it in octal digits, such as 022"),
        ("umask = -1", "'-1' is not a umask; write it in octal digits, such as 022"),
        (
            "process.cpu_affinity = 0 x 5-1",
            (
                "'x' is no processor and no range of them, '5-1' is no processor and no range of"
                " them; write 0-3,6"
            ),
        ),
    ],
)
def test_wrong_value_is_named_with_what_would_be_right(line, problem):
    """One line each."""
    (found,) = problems_of(line)
    assert found.startswith(f"[pool:a] {line.partition(' ')[0]}: {problem}")


@pytest.mark.parametrize("numbers", [(0,), (0, 1), (0, 2), (0, 1, 2, 6, 8, 9), (7, 63, 64, 65)])
def test_processors_are_written_as_they_are_read(numbers):
    """Ranges where there are any."""
    assert parse_processors(format_processors(numbers)) == numbers


def test_default_number_of_workers_counts_the_processors_of_the_pool():
    """Twice as many workers as processors that it may run on."""
    assert load().pools["a"].pm_max_children == 8
    assert load("process.cpu_affinity = 1,3,2").pools["a"].pm_max_children == 6
    assert load("process.cpu_affinity = 0-63").pools["a"].pm_max_children == 8


def test_root_folder_changes_what_paths_are_by_default():
    """PHP-FPM's: the working folder is / in there, unless set."""
    pool = load("chroot = root", folder="/srv").pools["a"]
    assert (pool.chroot, pool.directory) == ("/srv/root", "/")
    pool = load("chroot = root", folder="/srv", is_root=False).pools["a"]
    assert (pool.chroot, pool.directory) == (None, "/srv")


@pytest.mark.parametrize("before", ["", "/lib "])
@pytest.mark.parametrize(
    "key", ["directory", "python", "sandbox.read", "sandbox.write", "sandbox.execute"]
)
def test_relative_path_means_nothing_in_another_root(key, before):
    """It would start at the folder of the file, which is outside; a list is looked at whole."""
    if not key.startswith("sandbox."):
        before = ""
    with pytest.raises(ConfigError) as caught:
        load("chroot = /srv/root", f"{key} = {before}app")
    assert f"{key}: 'app' is relative; with chroot" in str(caught.value)
    load("chroot = /srv/root", f"{key} = /app")
    load(f"{key} = app")


def test_core_limit_has_a_notice_without_dumpable():
    """The kernel writes no core of a process that is not dumpable, whatever its limit."""
    said = ["rlimit_core: has no effect without process.dumpable = yes"]
    assert notices_of("rlimit_core = unlimited") == said
    assert notices_of("rlimit_core = unlimited", "process.dumpable = yes") == []
    assert notices_of("rlimit_core = 0") == []


def test_processor_that_the_machine_lacks_is_an_error(tmp_path):
    """Named, with those that there are."""
    with pytest.raises(ConfigError) as caught:
        load("process.cpu_affinity = 0,4096", check_system=True, folder=str(tmp_path))
    last = (os.cpu_count() or 1) - 1
    assert (
        f"process.cpu_affinity: there is no processor 4096; the machine's are 0 to {last}"
        in str(caught.value)
    )


@pytest.mark.parametrize(
    ("wanted", "limit", "above"),
    [(5, 4, True), (4, 4, False), (-1, 4, True), (4, -1, False), (-1, -1, False)],
)
def test_no_limit_is_the_highest(wanted, limit, above):
    """RLIM_INFINITY is -1 for Python."""
    assert resource.RLIM_INFINITY == -1
    assert is_above(wanted, limit) is above


# -- paths inside another root --------------------------------------------------------------------


def test_links_inside_a_root_stay_inside(tmp_path):
    """Absolute ones start at the root folder, and `..` does not leave it."""
    root = tmp_path / "root"
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "bin").symlink_to("/usr/bin")
    (root / "up").symlink_to("../../../usr")
    (root / "round").symlink_to("round")
    assert locate("/bin/python3", str(root)) == f"{root}/usr/bin/python3"
    assert locate("/up/bin", str(root)) == f"{root}/usr/bin"
    assert locate("/../../x", str(root)) == f"{root}/x"
    assert locate("/round/x", str(root)) == ""
    assert locate("/", str(root)) == str(root)


def test_refusal_inside_a_root_asks_nothing_of_the_way_to_it(tmp_path):
    """The pool starts inside: what lies above the root folder has no say, the folder itself has."""
    closed = tmp_path / "closed"
    root = closed / "root"
    (root / "srv").mkdir(parents=True)
    for folder, mode in ((root / "srv", 0o755), (root, 0o755), (closed, 0o700)):
        folder.chmod(mode)
    assert find_refusal("/srv", STRANGER, "rx", str(root)) is None
    refusal = find_refusal(f"{root}/srv", STRANGER, "rx")
    assert refusal is not None
    (root / "srv").chmod(0o700)
    refusal = find_refusal("/srv", STRANGER, "rx", str(root))
    assert refusal is not None
    assert refusal.path == f"{root}/srv"


def test_bound_on_processes_of_root_has_a_notice():
    """The kernel does not count root's."""
    text = "[pool:a]\napp = a:b\nlisten = /run/a.sock\nrlimit_nproc = 9\npython = /bin/sh\n"
    config = load_config("/tmp/f", {}, is_root=True, allow_root=True, text=text)
    if os.geteuid() == 0:
        (notice,) = config.notices
        assert "rlimit_nproc: has no effect, since it does not bind root" in str(notice)


def test_place_that_only_the_zygote_would_have_has_a_notice():
    """A rule for /proc/self is for one process."""
    config = load("sandbox.read = /proc/self/status /proc /proc/selfish")
    (notice,) = config.notices
    assert "sandbox.read: /proc/self/status is opened to the zygote alone" in str(notice)
