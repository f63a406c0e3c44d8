"""What to do about a place that refuses a pool's user.

Root does as it is told here, so nothing is opened that a tenant points at.
"""

import os

from pyfpm.config.accounts import find_user
from pyfpm.config.reach import Refusal
from pyfpm.kernel.strangers import find_strangers_link


def advise(refusal: Refusal, path: str, root: str = "/") -> str:
    """What would let the user get to `path`, or what to look at before."""
    link = find_strangers_link(path, {0, os.geteuid()}, root)
    if link is None:
        return f"run `{refusal.remedy()}`"
    owner = find_user(str(link.owner))
    name = link.owner if owner is None else owner.pw_name
    return f"the link {link.path} leads there, and user {name} can change it: look at it first"
