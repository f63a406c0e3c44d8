"""What the control socket offers (CONTRACT 1)."""

import os
import time
from collections.abc import Mapping
from typing import Protocol

import pyfpm
from pyfpm.control import Command
from pyfpm.errors import ControlError
from pyfpm.kernel.clock import local_zone
from pyfpm.master.pool import Pool
from pyfpm.observe import render_table, render_text, status_to_dict

_USAGE = 64


class Service(Protocol):
    """What the commands see of the master."""

    state: str
    started_s: float

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The pools by name."""
        ...

    def stop(self, *, now: bool) -> None:
        """Begin to stop; `now` kills instead of waiting for requests."""
        ...


def make_commands(master: Service) -> dict[str, Command]:
    """The commands of one master, by name."""
    commands = _Commands(master)
    return {
        "status": Command(commands.status, changes=False),
        "stop": Command(commands.stop, changes=True),
    }


class _Commands:
    def __init__(self, master: Service) -> None:
        self._master = master

    async def status(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """`pool` limits it to one, `full` adds the processes, `format` chooses table or text.

        The answer has `pyfpm` and `pools` as CONTRACT 4 has them, and `text` where a format that
        is rendered here was asked for.
        """
        wanted = arguments.get("pool")
        full = arguments.get("full") is True
        pools = self._master.pools
        if wanted is not None and wanted not in pools:
            raise ControlError(f"no pool {wanted!r}; there are: {', '.join(pools)}")
        shown = [pool for name, pool in pools.items() if wanted in (None, name)]
        statuses = [pool.status() for pool in shown]
        answer: dict[str, object] = {
            "pyfpm": {
                "version": pyfpm.__version__,
                "pid": os.getpid(),
                "state": self._master.state,
                "start since": int(time.monotonic() - self._master.started_s),
                "generation": 1,
            },
            "pools": {status.pool: status_to_dict(status, full=full) for status in statuses},
        }
        match arguments.get("format"):
            case "table":
                answer["text"] = render_table(statuses, full=full)
            case "text":
                answer["text"] = "\n".join(
                    render_text(status, full=full, zone=local_zone()) for status in statuses
                )
            case None | "json":
                pass
            case other:
                raise ControlError(f"no status format {other!r}", _USAGE)
        return answer

    async def stop(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """End the service; `now` kills instead of draining."""
        self._master.stop(now=arguments.get("now") is True)
        return {}
