"""A way opened step by step: which links are reported, and what a change comes too late for."""

import errno
import os
from pathlib import Path

import pytest

from pyfpm.kernel.steps import ancestors, open_step_by_step


def walk(path, on_link=lambda *_: None, root="/"):
    """The real path, and what a file there says; None for a folder."""
    way = open_step_by_step(str(path), on_link, str(root))
    try:
        if os.path.isdir(f"/proc/self/fd/{way.descriptor}"):
            return way.path, None
        with open(f"/proc/self/fd/{way.descriptor}") as file:
            return way.path, file.read()
    finally:
        way.close()


@pytest.fixture
def folder(tmp_path):
    """`a/file`, and links to it of each kind."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_text("text")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/file").write_text("other")
    (tmp_path / "absolute").symlink_to(tmp_path / "a/file")
    (tmp_path / "relative").symlink_to("a/file")
    (tmp_path / "folder").symlink_to("a/b")
    (tmp_path / "round").symlink_to("round")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["a/file", "absolute", "relative", "folder/../file", "a//b/./../file", "../{}/relative"]
)
def test_way_ends_where_the_kernel_ends_it(folder, name):
    """Links, and the names that go up, mean what they mean to open(2)."""
    path = Path(f"{folder}/{name.format(folder.name)}")
    assert walk(path) == (os.path.realpath(path), path.read_text())


@pytest.mark.parametrize("path", ["/file", "/../../file", "/b/../../file", "/absolute", "/up/file"])
def test_way_in_a_root_folder_does_not_leave_it(folder, path):
    """As for a process that has it as its root: absolute links start there, `..` ends there."""
    (folder / "a/absolute").symlink_to("/file")
    (folder / "a/up").symlink_to("../../..")
    assert walk(path, root=folder / "a") == (f"{folder}/a/file", "text")


def test_every_link_is_reported_with_its_folder(folder):
    """In the order in which they are met."""
    met = []
    (folder / "first").symlink_to("folder/../../relative")
    walk(folder / "first", lambda path, *_: met.append(os.path.relpath(path, folder)))
    assert met == ["first", "folder", "relative"]


def test_link_that_is_changed_after_the_report_is_followed_as_reported(folder):
    """Whoever changes it between the look and the opening changes nothing."""

    def change(path, facts, above):
        os.unlink(path)
        os.symlink("b/file", path)

    assert walk(folder / "relative", change) == (f"{folder}/a/file", "text")
    assert walk(folder / "relative") == (f"{folder}/b/file", "other")


def test_folder_that_is_exchanged_behind_us_is_not_gone_back_to(folder):
    """What was opened is what counts, not what has its name by now."""
    (folder / "a/link").symlink_to("file")

    def exchange(path, facts, above):
        os.rename(folder / "a", folder / "gone")
        os.rename(folder / "b", folder / "a")

    assert walk(folder / "a/link", exchange)[1] == "text"


@pytest.mark.parametrize(
    ("name", "error", "place"),
    [
        ("a/none/file", errno.ENOENT, "a/none"),
        ("a/file/more", errno.ENOTDIR, "a/file/more"),
        ("round", errno.ELOOP, ""),
    ],
)
def test_place_that_is_missing_is_named(folder, name, error, place):
    """And not the end of the path."""
    with pytest.raises(OSError, match=os.strerror(error)) as caught:
        walk(folder / name)
    assert caught.value.filename == str(folder / place)


def test_no_descriptor_is_left(folder):
    """Neither where a way ends nor where it breaks off."""
    before = len(os.listdir("/proc/self/fd"))
    for name in ("relative", "folder/..", "round", "a/none", "/"):
        try:
            walk(folder / name)
        except OSError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_ancestors_of_a_file_are_the_folders_that_it_lies_in(folder):
    """Itself first, the root last, whichever way led there."""
    way = open_step_by_step(f"{folder}/folder/../file", lambda *_: None)
    try:
        found = list(ancestors(way))
    finally:
        way.close()
    places = [folder / "a/file", folder / "a", *folder.joinpath("a").parents]
    assert found == [(os.stat(place).st_dev, os.stat(place).st_ino) for place in places]
