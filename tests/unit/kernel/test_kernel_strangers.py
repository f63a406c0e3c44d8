"""Whose links are followed: those of the users that are named, and nobody else's."""

import os

import pytest

from pyfpm.kernel.strangers import StrangersLinkError, find_strangers_link, open_past_own_links

TENANT = 12345

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture
def folder(tmp_path):
    """`real/file`, a link of root to it, one of a tenant, and one of root to that."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("text")
    (tmp_path / "roots").symlink_to("real")
    (tmp_path / "theirs").symlink_to("real")
    os.lchown(tmp_path / "theirs", TENANT, TENANT)
    (tmp_path / "around").symlink_to("theirs")
    return tmp_path


def found(path, trusted=(0,), root="/"):
    """The link that is refused and its owner; None without one."""
    error = find_strangers_link(str(path), trusted, str(root))
    return None if error is None else (error.path, error.owner)


@pytest.mark.parametrize("way", ["theirs", "theirs/file", "theirs/missing", "around/file"])
def test_link_of_somebody_else_is_named(folder, way):
    """Also where it ends the way, where the way breaks off behind it, and behind a link of root."""
    assert found(folder / way) == (f"{folder}/theirs", TENANT)
    with pytest.raises(StrangersLinkError, match=f"theirs is a symbolic link of user {TENANT}"):
        open_past_own_links(str(folder / way), {0})


@pytest.mark.parametrize("way", ["real/file", "roots/file", "roots/missing/more", "missing"])
def test_way_without_links_of_others_has_none(folder, way):
    """The twin; what is missing is no link."""
    assert found(folder / way) is None


def test_link_of_a_trusted_user_is_followed(folder):
    """Of the master's own, say."""
    assert found(folder / "around/file", {0, TENANT}) is None
    opened = open_past_own_links(str(folder / "around/file"), {0, TENANT})
    assert opened.path == f"{folder}/real/file"
    opened.close()


def test_owner_of_a_link_is_known_by_its_file_and_not_by_its_folder(folder):
    """Root's link in a tenant's folder is root's, and the tenant's in root's is not."""
    os.chown(folder, TENANT, TENANT)
    assert found(folder / "roots/file") is None
    assert found(folder / "theirs/file") == (f"{folder}/theirs", TENANT)


def test_way_inside_a_root_folder_is_looked_at_there(folder):
    """A link that is absolute starts from that folder, and its path is told as from outside."""
    (folder / "inside").symlink_to("/theirs/file")
    assert found("/inside", root=folder) == (f"{folder}/theirs", TENANT)
    assert found("/../../real/file", root=folder) is None
