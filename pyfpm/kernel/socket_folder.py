"""The folder of a Unix socket, reached without following anybody's links but root's.

Root makes, clears and removes sockets in folders of tenants. A tenant who owns a folder on the way
can put a symbolic link there, and root would make or remove a file where the link leads, in /etc
for instance. So a master that is root opens the folder past its own links alone (kernel.strangers),
and then names the socket so that the name leads into the very folder that was opened:

* By the folder's real path, where nobody but root can change what that leads to. What the kernel
  keeps as the name of the bind, and `ss -xl` shows, is a path that everybody understands.
* Else through the descriptor, /proc/self/fd/N/NAME: it leads there whatever becomes of the path.

A master that is not root can do no more than its user can, and follows all links.
"""

import contextlib
import os
from collections.abc import Iterator

from pyfpm.errors import SpawnError
from pyfpm.kernel.folders import is_in_hands_of, is_shared
from pyfpm.kernel.owner import owner_of
from pyfpm.kernel.steps import Opened
from pyfpm.kernel.strangers import open_past_own_links

_LONGEST_NAME = 107
"""Of the 108 bytes of sun_path the last is the NUL at the end (unix(7))."""


@contextlib.contextmanager
def lasting_name(path: str) -> Iterator[str]:
    """A name of `path`, to be used within the block, whose folder nobody can exchange meanwhile.

    OSError where there is no such folder; SpawnError where a link on the way to it is a stranger's.
    """
    if os.geteuid() != 0:
        yield path
        return
    folder, name = os.path.split(path)
    opened = open_past_own_links(folder, {0})
    try:
        yield _name_in(opened, name)
    finally:
        opened.close()


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

    The folder itself may be anybody's. Asked from the top: a name in folders that root alone can
    write leads to the same file a moment later.
    """
    above = os.path.dirname(folder.path)
    if not is_in_hands_of({0}, above):
        return False
    try:
        facts, there = os.lstat(folder.path), os.stat(above)
    except OSError:
        return False
    found = os.fstat(folder.descriptor)
    is_same = (facts.st_dev, facts.st_ino) == (found.st_dev, found.st_ino)
    return is_same and (not is_shared(there) or owner_of(facts) == 0)
