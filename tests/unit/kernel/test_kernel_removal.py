"""Folders as their owners may leave them, removed to the last file and not one file further."""

import os

import pytest

from pyfpm.kernel.mounts import mount_of
from pyfpm.kernel.removal import open_on_same_mount, remove_tree


@pytest.fixture
def folder(tmp_path):
    """A folder to remove, beside one to keep."""
    (tmp_path / "kept/in").mkdir(parents=True)
    (tmp_path / "kept/file").touch()
    (tmp_path / "gone").mkdir()
    return tmp_path / "gone"


def assert_only_it_is_gone(folder):
    remove_tree(str(folder))
    assert sorted(path.name for path in folder.parent.rglob("*")) == ["file", "in", "kept"]


def test_files_and_folders_of_any_shape_are_removed(folder):
    """Many in one, one in another, empty ones, names that look like others."""
    for name in ("a/b/c/d", "a/b2/c", "e", "f/..g", "f/ ", "f/\n"):
        (folder / name).mkdir(parents=True)
        for number in range(30):
            (folder / name / f"file{number}").touch()
    os.mkfifo(folder / "a/fifo")
    assert_only_it_is_gone(folder)


def test_links_are_removed_themselves(folder):
    """To files, folders, the folder above, nothing, and the folder that is removed."""
    for number, target in enumerate(("..", "../kept", "../kept/file", "none", ".", "/")):
        (folder / f"link{number}").symlink_to(target)
    (folder / "below").mkdir()
    (folder / "below/link").symlink_to("../../kept")
    assert_only_it_is_gone(folder)


def test_depth_is_no_matter(folder):
    """Deeper than Python recurses, and longer than any path may be."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert_only_it_is_gone(folder)


def test_folders_that_are_closed_are_opened_first(folder):
    """As their owner may, whatever their mode; for root no mode counts."""
    for name in ("a/b/c", "d"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").touch()
    for name in ("a/b/c", "a/b", "a", "d", "."):
        (folder / name).chmod(0)
    assert_only_it_is_gone(folder)


def test_link_in_the_place_of_the_folder_is_not_followed(folder):
    """Its owner may have put one there."""
    folder.rmdir()
    folder.symlink_to("kept")
    remove_tree(str(folder))
    assert (folder.parent / "kept/file").exists()


def test_no_descriptor_is_left(folder):
    """Whatever was in the way."""
    (folder / "a/b").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    remove_tree(str(folder))
    remove_tree(str(folder))
    assert len(os.listdir("/proc/self/fd")) == before


def test_mount_is_told_from_the_folder_that_it_covers():
    """Without a question to its file system."""
    above = os.open("/", os.O_PATH)
    proc = os.open("/proc", os.O_PATH)
    try:
        assert mount_of(proc) != mount_of(above)
        with pytest.raises(BlockingIOError):
            open_on_same_mount("proc", above)
    finally:
        os.close(above)
        os.close(proc)
