import os
import stat

import pytest

from pyfpm.control import default_path
from pyfpm.control.location import check_own_folder, guard_private_folder, prepare_folder
from pyfpm.errors import ControlError


def test_default_path_of_root_is_below_run():
    """Root's socket is at the fixed place, whatever the environment says."""
    assert (
        default_path({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, is_root=True)
        == "/run/pyfpm/control.sock"
    )


def test_default_path_of_a_user_is_in_the_runtime_folder():
    """A user with a runtime folder has the socket there."""
    path = default_path({"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, is_root=False)
    assert path == "/run/user/1000/pyfpm/control.sock"


@pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "run"}])
def test_default_path_without_a_usable_runtime_folder_is_private_in_tmp(environ):
    """Without an absolute XDG_RUNTIME_DIR the user's own folder in /tmp is used."""
    assert default_path(environ, 1000, is_root=False) == "/tmp/pyfpm-1000/control.sock"


def test_missing_folder_is_made_for_all_to_enter(tmp_path):
    """A missing folder is made 0755 under any umask, as the contract says."""
    umask = os.umask(0o077)
    try:
        prepare_folder(str(tmp_path / "run" / "control.sock"), os.geteuid())
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755


def test_folder_without_parent_is_an_error_naming_the_folder(tmp_path):
    """Only one level is made: a missing parent is a mistake in the path."""
    with pytest.raises(ControlError, match="a/b: no such file"):
        prepare_folder(str(tmp_path / "a" / "b" / "control.sock"), os.geteuid())


def test_own_closed_folder_is_accepted(tmp_path):
    """A folder of the user alone is what is wanted; a missing one is somebody else's question."""
    folder = tmp_path / "own"
    check_own_folder(str(folder), os.geteuid())
    folder.mkdir(mode=0o700)
    check_own_folder(str(folder), os.geteuid())


@pytest.mark.parametrize("kind", ["open to others", "symbolic link", "file", "another user's"])
def test_folder_that_somebody_else_may_have_made_is_refused(tmp_path, kind):
    """A folder in /tmp that is not the user's own and closed is not used, by server or client."""
    folder = tmp_path / "pyfpm-own"
    uid = os.geteuid()
    if kind == "symbolic link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        folder.write_text("")
        folder.chmod(0o600)
    else:
        folder.mkdir()
        folder.chmod(0o755 if kind == "open to others" else 0o700)
    if kind == "another user's":
        uid += 1
    with pytest.raises(ControlError, match="not a folder of user"):
        check_own_folder(str(folder), uid)


def test_folder_elsewhere_is_the_operators_choice(tmp_path):
    """Only the folder in /tmp is guarded: the socket's own mode protects it everywhere."""
    tmp_path.chmod(0o777)
    guard_private_folder(str(tmp_path / "control.sock"), os.geteuid())
