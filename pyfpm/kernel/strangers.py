"""Symbolic links of others, which root does not follow.

Whoever makes a link decides where the way goes on, and root goes where the maker could not. So it
follows its own links, and none of a tenant. In a container the links of an image, or of a volume,
may belong to a user of the machine around it, whom no process in here can be (kernel.owner): such a
link is followed where the owner of its folder made it.
"""

import os
import stat
from collections.abc import Collection

from pyfpm.errors import SpawnError
from pyfpm.kernel.owner import is_owner_unknown, owner_of
from pyfpm.kernel.steps import Opened, open_step_by_step


class StrangersLinkError(SpawnError):
    """A symbolic link of somebody who may not say where the way goes on."""

    def __init__(self, path: str, owner: int) -> None:
        super().__init__(
            f"{path} is a symbolic link of user {owner}, and root follows none of others: remove"
            " it, or write the folder that it leads to"
        )
        self.path = path
        self.owner = owner


def is_strangers_link(link: os.stat_result, folder: str, trusted: Collection[int]) -> bool:
    """Whether a symbolic link in `folder` is of somebody else than those whose links are followed.

    A link cannot be asked whose it is: it has to be its folder's owner's, and no guest's.
    """
    owner = owner_of(link)
    if owner in trusted:
        return False
    found = os.stat(folder)
    is_guests = owner != found.st_uid or bool(found.st_mode & stat.S_IWOTH)
    return is_guests or not is_owner_unknown(folder)


def open_past_own_links(path: str, trusted: Collection[int], root: str = "/") -> Opened:
    """Open an absolute path as `kernel.steps` does; StrangersLinkError at the first other link."""

    def refuse(place: str, link: os.stat_result, folder: int) -> None:
        if is_strangers_link(link, f"/proc/self/fd/{folder}/.", trusted):
            raise StrangersLinkError(place, owner_of(link))

    return open_step_by_step(path, refuse, root)


def find_strangers_link(
    path: str, trusted: Collection[int], root: str = "/"
) -> StrangersLinkError | None:
    """The first link that `open_past_own_links` refuses; None without one.

    A way that ends early has none.
    """
    try:
        open_past_own_links(path, trusted, root).close()
    except StrangersLinkError as error:
        return error
    except OSError:
        return None
    return None
