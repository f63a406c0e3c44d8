"""[include]: which files are read, in which order, and what their paths mean."""

import os

import pytest

from pyfpm.config import load_config
from pyfpm.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    """Writes a file below the test's folder and returns its path."""

    def write_file(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write_file


def load(path, environ=None):
    """A configuration from a file, without a look at users and interpreters."""
    return load_config(path, environ or {}, is_root=False, check_system=False)


def problems_of(path, environ=None):
    """The problems of a file, the folder cut from their paths."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    folder = path.rpartition("/")[0] + "/"
    return [str(problem).replace(folder, "") for problem in caught.value.problems]


def pool(name, *lines):
    """The text of a pool."""
    return "\n".join([f"[pool:{name}]", "app = a:b", *lines, ""])


def test_pools_come_in_the_order_of_their_files_names(write):
    """The main file first, then the matches of each pattern, sorted."""
    main = write(
        "f.conf", pool("z", "listen = /z") + "[include]\nfiles = pools.d/*.conf\n  more/*\n"
    )
    write("pools.d/b.conf", pool("b", "listen = /b"))
    write("pools.d/a.conf", pool("a", "listen = /a"))
    write("more/0", pool("m", "listen = /m"))
    assert list(load(main).pools) == ["z", "a", "b", "m"]


def test_paths_start_from_the_file_they_stand_in(write, tmp_path):
    """`%(here)s`, relative paths and the default directory belong to the included file."""
    main = write("f.conf", "[include]\nfiles = %(here)s/%(ENV_D)s/*.conf\n")
    write("pools.d/a.conf", pool("a", "listen = %(here)s/a.sock", "python = venv"))
    shop = load(main, {"D": "pools.d"}).pools["a"]
    assert shop.listen[0].path == f"{tmp_path}/pools.d/a.sock"
    assert shop.python == f"{tmp_path}/pools.d/venv"
    assert shop.directory == f"{tmp_path}/pools.d"


def test_folder_with_pattern_signs_in_its_name_is_only_a_folder(write):
    """The configuration's own folder is no part of the pattern."""
    main = write("[x]/f.conf", "[include]\nfiles = *.pool\n")
    write("[x]/a.pool", pool("a", "listen = /a"))
    assert list(load(main).pools) == ["a"]


def test_main_file_may_hold_the_defaults_of_included_pools(write):
    """[pool-defaults] reaches into every file."""
    main = write("f.conf", "[include]\nfiles = *.pool\n[pool-defaults]\nlisten = /run/$pool\n")
    write("a.pool", pool("a"))
    assert load(main).pools["a"].listen[0].path == "/run/a"


def test_pattern_without_match_is_only_noticed(write):
    """An empty pools.d is no mistake."""
    main = write("f.conf", pool("a", "listen = /a") + "[include]\nfiles = none.d/*.conf\n")
    (notice,) = load(main).notices
    assert str(notice) == f"{main}:5: [include] files: none.d/*.conf matches no file"


def test_same_pool_in_two_files_names_both_lines(write):
    """The place of the first and of the second."""
    main = write("f.conf", "[include]\nfiles = *.pool\n")
    write("a.pool", pool("a", "listen = /a"))
    write("b.pool", "\n" + pool("a", "listen = /b"))
    assert problems_of(main) == [
        "b.pool:2: [pool:a]: stands twice, first at a.pool:1; rename it or leave one of them out"
    ]


def test_nested_include_is_refused(write):
    """Only the main file includes."""
    main = write("f.conf", "[include]\nfiles = a.pool\n")
    write("a.pool", pool("a", "listen = /a") + "[include]\nfiles = *.x\n")
    assert problems_of(main) == [
        "a.pool:4: [include]: an included file cannot include; name the files in the main file"
    ]


def test_file_that_two_patterns_match_is_refused(write):
    """So is the main file itself, matched by its own pattern."""
    main = write("f.conf", "[include]\nfiles = a.* *.conf\n")
    write("a.conf", pool("a", "listen = /a"))
    assert problems_of(main) == [
        (
            "f.conf:2: [include] files: a.conf is read already as a.conf;"
            " let only one pattern match it"
        ),
        (
            "f.conf:2: [include] files: f.conf is read already as f.conf;"
            " let only one pattern match it"
        ),
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("", "f.conf:1: [include] files: is missing; write it as files = pools.d/*.conf"),
        ("files =", "f.conf:2: [include] files: is empty; write it as files = pools.d/*.conf"),
        (
            "files = %(ENV_X)s",
            (
                "f.conf:2: [include] files: %(ENV_X)s: the environment has no X;"
                " set it before the start"
            ),
        ),
    ],
)
def test_include_that_names_no_files_is_refused(write, lines, problem):
    """An include without effect is a mistake."""
    main = write("f.conf", f"[include]\n{lines}\n")
    assert problems_of(main) == [problem]


def test_folder_that_a_pattern_matches_is_refused(write):
    """`pools.d` without a pattern for the files in it."""
    main = write("f.conf", "[include]\nfiles = pools.d\n")
    write("pools.d/a.conf", pool("a", "listen = /a"))
    assert problems_of(main) == ["pools.d: cannot be read: is a directory"]


def test_unknown_key_of_include_is_refused(write):
    """`file` is not `files`."""
    main = write("f.conf", "[include]\nfile = a\nfiles = *.pool\n")
    write("a.pool", pool("a", "listen = /a"))
    assert problems_of(main) == [
        "f.conf:2: [include] file: unknown key; write it as files = pools.d/*.conf"
    ]


def test_problems_are_sorted_by_file_and_line(write):
    """The main file first, then the included ones in the order they were read."""
    main = write("f.conf", "[include]\nfiles = *.pool\n[pyfpm]\nx = 1\n")
    write("a.pool", "junk\n" + pool("a"))
    write("b.pool", pool("b", "y = 1", "listen = 0"))
    places = [problem.partition(": ")[0] for problem in problems_of(main)]
    assert places == ["f.conf:4", "a.pool:1", "a.pool:2", "b.pool:3", "b.pool:4"]


def test_fifo_among_the_included_files_is_a_problem(write, tmp_path):
    """Reading it would wait for somebody to write, and a master with it, for ever."""
    main = write("f.conf", pool("a", "listen = /a") + "[include]\nfiles = pools.d/*\n")
    write("pools.d/b.conf", pool("b", "listen = /b"))
    os.mkfifo(tmp_path / "pools.d" / "c.conf")
    assert problems_of(main) == ["pools.d/c.conf: cannot be read: it is no regular file"]


def test_folder_among_the_included_files_is_a_problem(write, tmp_path):
    """The reason is the kernel's own."""
    main = write("f.conf", pool("a", "listen = /a") + "[include]\nfiles = pools.d/*\n")
    (tmp_path / "pools.d" / "c.conf").mkdir(parents=True)
    assert problems_of(main) == ["pools.d/c.conf: cannot be read: is a directory"]


def test_file_without_end_is_a_problem(write, tmp_path):
    """A device or a log that was taken for a configuration fills no memory."""
    main = write("f.conf", pool("a", "listen = /a") + "[include]\nfiles = *.log\n")
    with open(tmp_path / "access.log", "wb") as file:
        file.truncate(1 << 40)
    assert problems_of(main) == ["access.log: cannot be read: it is longer than 16 MiB"]
    assert problems_of("/dev/zero") == ["zero: cannot be read: it is longer than 16 MiB"]
