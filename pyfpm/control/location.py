"""Where the control socket is by default, and the folder it stands in."""

import os
import stat
from collections.abc import Mapping

from pyfpm.control.protocol import ExitCode
from pyfpm.errors import ControlError, reason_of
from pyfpm.kernel.folders import find_exposure, make_folder


def default_path(environ: Mapping[str, str], uid: int, *, is_root: bool) -> str:
    """The control socket of a master of this user that was not told another place.

    For root `/run/pyfpm/control.sock`; for others below `$XDG_RUNTIME_DIR`, else in
    `/tmp/pyfpm-UID`, which belongs to the user alone.
    """
    if is_root:
        return "/run/pyfpm/control.sock"
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):  # the XDG specification: relative values are to be ignored
        return os.path.join(runtime, "pyfpm", "control.sock")
    return os.path.join(private_folder(uid), "control.sock")


def private_folder(uid: int) -> str:
    """The user's own folder in the shared `/tmp`."""
    return f"/tmp/pyfpm-{uid}"  # noqa: S108  # check_private_folder is what makes this safe


def prepare_folder(path: str, uid: int) -> None:
    """Make the folder of the socket `path` where it is missing and its parent exists.

    It is made 0755, the private folder in `/tmp` 0700. Raises ControlError when it cannot be
    made, or when somebody else made it first where everybody may.
    """
    folder = os.path.dirname(os.path.abspath(path))
    mode = 0o700 if folder == private_folder(uid) else 0o755
    try:
        make_folder(folder, mode)
    except OSError as error:
        raise ControlError(f"make control folder {folder}: {reason_of(error)}") from None
    guard_private_folder(path, uid)
    found = find_exposure(folder, {uid})
    if found is not None and found.owner is not None:
        raise ControlError(f"control socket {path}: {found}", ExitCode.NOT_PERMITTED)


def guard_private_folder(path: str, uid: int) -> None:
    """Refuse the socket `path` if it stands in a private folder that is not this user's own.

    Anybody can create that name in `/tmp` first; a master would then put its socket, and a client
    look for it, in a folder under somebody else's control. Other folders are the operator's choice.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if folder == private_folder(uid):
        check_own_folder(folder, uid)


def check_own_folder(folder: str, uid: int) -> None:
    """Raise ControlError unless `folder` is missing, or a folder of `uid` closed to all others."""
    try:
        facts = os.lstat(folder)
    except FileNotFoundError:
        return
    is_own = stat.S_ISDIR(facts.st_mode) and facts.st_uid == uid
    if not is_own or stat.S_IMODE(facts.st_mode) & 0o077:
        raise ControlError(
            f"control folder {folder}: not a folder of user {uid} with mode 0700: "
            "remove it, or set control in [pyfpm]",
            ExitCode.NOT_PERMITTED,
        )
