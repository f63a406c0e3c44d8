"""What a pool asks of the processors and of the kernel.

As all that asks about the machine, it looks and changes nothing.
"""

import os
from collections.abc import Iterator

from pyfpm.config.draft import Draft
from pyfpm.config.options import PoolOptions
from pyfpm.config.values import Sandbox, format_processors
from pyfpm.errors import Problem
from pyfpm.kernel.landlock import Support, missing_walls, read_support


def check_pool(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """Processors that there are; which of them a cgroup admits shows when the pool starts."""
    there_are = os.cpu_count() or 1
    missing = tuple(number for number in pool.process_cpu_affinity or () if number >= there_are)
    if missing:
        there = f"are 0 to {there_are - 1}" if there_are > 1 else "is 0 alone"
        yield draft.problem(
            "process.cpu_affinity",
            f"there is no processor {format_processors(missing)}; the machine's {there}",
        )


def notice_pool(
    draft: Draft, pool: PoolOptions, support: Support | None = None
) -> Iterator[Problem]:
    """What a sandbox that makes do with less goes without; `support` is the running kernel's."""
    if pool.sandbox is not Sandbox.BEST_EFFORT:
        return
    walls = missing_walls(support or read_support())
    if walls:
        yield draft.problem(
            "sandbox", f"goes without what this kernel does not restrict: {', '.join(walls)}"
        )
