"""The folder of a Unix socket, reached without following anybody's links but root's.

Root makes, clears and removes sockets in folders of tenants. A tenant who owns a folder on the way
can put a symbolic link there, and root would make or remove a file where the link leads, in /etc
for instance. So a master that is root opens the folder step by step (kernel.steps), refuses links
of others, and then names the socket so that the name leads into the very folder that was opened:

* By the folder's real path, where nobody but root can change what that leads to. What the kernel
  keeps as the name of the bind, and `ss -xl` shows, is a path that everybody understands.
* Else through the descriptor, /proc/self/fd/N/NAME: it leads there whatever becomes of the path.

In a container the links of an image, or of a volume, may belong to a user of the machine around
it, whom no process in here can be (kernel.owner). Such a link is followed where the owner of its
folder made it. A master that is not root can do no more than its user can, and follows all links.
"""

import contextlib
import os
import stat
from collections.abc import Iterator

from pyfpm.errors import SpawnError
from pyfpm.kernel.folders import components
from pyfpm.kernel.mounts import find_mounter
from pyfpm.kernel.owner import is_owner_unknown
from pyfpm.kernel.steps import Opened, open_step_by_step

_LONGEST_NAME = 107
"""Of the 108 bytes of sun_path the last is the NUL at the end (unix(7))."""


class StrangeLinkError(SpawnError):
    """A symbolic link on the way to a socket that is not root's."""

    def __init__(self, path: str, owner: int) -> None:
        super().__init__(
            f"{path} is a symbolic link of user {owner}, and root follows none of others to a"
            " socket: remove it, or write the folder that it leads to"
        )


@contextlib.contextmanager
def lasting_name(path: str) -> Iterator[str]:
    """A name of `path`, to be used within the block, whose folder nobody can exchange meanwhile.

    OSError where there is no such folder; SpawnError where a link on the way to it is a stranger's.
    """
    if os.geteuid() != 0:
        yield path
        return
    folder, name = os.path.split(path)
    opened = open_step_by_step(folder, _refuse_strangers)
    try:
        yield _name_in(opened, name)
    finally:
        opened.close()


def find_strange_link(folder: str) -> StrangeLinkError | None:
    """The link that keeps a master of root from making a socket in `folder`; None if there is none.

    A way that ends early has none.
    """
    try:
        open_step_by_step(folder, _refuse_strangers).close()
    except StrangeLinkError as error:
        return error
    except OSError:
        return None
    return None


def _refuse_strangers(path: str, facts: os.stat_result, folder: int) -> None:
    owner = _owner_of(facts)
    if owner != 0 and not _is_from_outside(owner, folder):
        raise StrangeLinkError(path, owner)


def _is_from_outside(owner: int, folder: int) -> bool:
    """A link cannot be asked whose it is: it has to be its folder's owner's, and no guest's."""
    found = os.fstat(folder)
    if owner != found.st_uid or found.st_mode & stat.S_IWOTH:
        return False
    return is_owner_unknown(f"/proc/self/fd/{folder}/.")


def _owner_of(facts: os.stat_result) -> int:
    """Whose a file is; the owners of files on a FUSE mount are the inventions of its user."""
    mounter = find_mounter(facts.st_dev)
    return facts.st_uid if mounter is None else mounter


def _name_in(folder: Opened, name: str) -> str:
    plain = os.path.join(folder.path, name)
    if len(os.fsencode(plain)) <= _LONGEST_NAME and _leads_for_good_to(folder):
        return plain
    way = f"/proc/self/fd/{folder.descriptor}/"
    most = _LONGEST_NAME - len(way)
    if len(os.fsencode(name)) > most:
        raise SpawnError(
            f"others than root can exchange {folder.path}, and the name of a socket there may have"
            f" {most} bytes: give it a shorter one"
        )
    return way + name


def _leads_for_good_to(folder: Opened) -> bool:
    """Whether root alone can make the folder's real path lead elsewhere.

    Asked from the top: a name in a folder that root alone can write leads to the same file a moment
    later. The folder itself may be anybody's.
    """
    place, above = "/", os.lstat("/")
    for name in reversed(components(folder.path)):
        place = os.path.join(place, name)
        try:
            facts = os.lstat(place)
        except OSError:
            return False
        is_shared = above.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        is_guarded = above.st_mode & stat.S_ISVTX and _owner_of(facts) == 0
        if _owner_of(above) != 0 or (is_shared and not is_guarded):
            return False
        above = facts
    found = os.fstat(folder.descriptor)
    return (above.st_dev, above.st_ino) == (found.st_dev, found.st_ino)
