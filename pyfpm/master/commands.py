"""What the control socket offers (CONTRACT 1): arguments are checked here, `Service` does it."""

import os
import time
from collections.abc import Sequence
from typing import Any, Protocol

import pyfpm
from pyfpm.control import Call, Command, ExitCode
from pyfpm.errors import ControlError
from pyfpm.kernel.clock import local_zone
from pyfpm.logs import Log
from pyfpm.master.arguments import Arguments, check_pools
from pyfpm.master.pools import Pools
from pyfpm.master.succession import Progress
from pyfpm.observe import render_table, render_text, status_to_dict

Answer = dict[str, Any]
"""A JSON object for the client."""


class Service(Protocol):
    """What the commands see of the master."""

    state: str
    started_s: float

    pools: Pools

    @property
    def generation(self) -> int:
        """One more than the reloads that succeeded."""
        ...

    def stop(self, *, now: bool) -> None:
        """Begin to stop; `now` kills instead of waiting for requests."""
        ...

    async def reload(self, names: Sequence[str], progress: Progress) -> Answer:
        """Load configuration and code anew, of all pools where `names` is empty.

        The answer is `{"pools": {name: {"generation": int, "draining": int}}, "draining": [text]}`;
        `draining` counts workers of older generations, and says in words what they still do.
        ControlError where the old generation serves on, or where a name is no pool's.
        """
        ...

    def reopen_logs(self) -> list[str]:
        """Open the log files anew under their names; the paths that were opened."""
        ...

    async def upgrade(self, call: Call) -> Answer:
        """Replace the master's own code; ControlError where the old one goes on.

        Does not return where it succeeds: the master replaces itself and answers on what
        `call.detach` gave, with `{"version": str, "pid": int}` and what `reload` answers.
        """
        ...


def make_commands(master: Service) -> dict[str, Command]:
    """The commands of one master, by name."""
    commands = _Commands(master)
    return {
        "status": Command(commands.status, changes=False),
        "trace": Command(commands.trace, changes=False),
        "reload": Command(commands.reload, changes=True),
        "restart": Command(commands.restart, changes=True),
        "stop": Command(commands.stop, changes=True),
        "start-pool": Command(commands.start_pool, changes=True),
        "scale": Command(commands.scale, changes=True),
        "reopen-logs": Command(commands.reopen_logs, changes=True),
        "upgrade": Command(commands.upgrade, changes=True),
    }


class _Commands:
    def __init__(self, master: Service) -> None:
        self._master = master

    @staticmethod
    def _note(*words: str) -> None:
        """A pool that comes or goes should not be a riddle to who reads the log."""
        Log().notice("command", f"pyfpm {' '.join(words)}: asked for over the control socket")

    async def status(self, given: Answer, call: Call) -> Answer:  # noqa: ARG002
        """`pool` limits it to one, `full` adds the processes, `format` chooses table or text.

        The answer has `pyfpm` and `pools` as CONTRACT 4 has them, and `text` where a format that
        is rendered here was asked for.
        """
        arguments = Arguments(given)
        wanted = arguments.optional_text("pool")
        full = arguments.flag("full")
        form = arguments.optional_text("format")
        arguments.end()
        pools = self._master.pools
        if wanted is not None:
            check_pools([wanted], pools.names)
        statuses = pools.statuses(wanted)
        answer: Answer = {
            "pyfpm": {
                "version": pyfpm.__version__,
                "pid": os.getpid(),
                "state": self._master.state,
                "start since": int(time.monotonic() - self._master.started_s),
                "generation": self._master.generation,
            },
            "pools": {status.pool: status_to_dict(status, full=full) for status in statuses},
        }
        match form:
            case "table":
                # For the command line before this one, which asks a master that was upgraded.
                answer["text"] = render_table(list(answer["pools"].values()), full=full)
            case "text":
                answer["text"] = "\n".join(
                    render_text(status, full=full, zone=local_zone()) for status in statuses
                )
            case None | "json":
                pass
            case other:
                raise ControlError(f"no status format {other!r}", ExitCode.USAGE)
        return answer

    async def trace(self, given: Answer, call: Call) -> Answer:  # noqa: ARG002
        """`pool`, and `pid` for one of its workers; the answer's `text` is for people."""
        arguments = Arguments(given)
        name, pid = arguments.text("pool"), arguments.optional_number("pid")
        arguments.end()
        check_pools([name], self._master.pools.names)
        return {"text": await self._master.pools.trace(name, pid)}

    async def reload(self, given: Answer, call: Call) -> Answer:
        """`pools` limits it to some; the answer is that of Service.reload."""
        arguments = Arguments(given)
        names = arguments.names("pools")
        arguments.end()
        return await self._master.reload(names, call.progress)

    async def restart(self, given: Answer, call: Call) -> Answer:
        """`pool`; ends when its workers are new ones."""
        arguments = Arguments(given)
        name = arguments.text("pool")
        arguments.end()
        check_pools([name], self._master.pools.names)
        self._note("restart", name)
        await self._master.pools.restart(name, call.progress)
        return {}

    async def stop(self, given: Answer, call: Call) -> Answer:  # noqa: ARG002
        """End the service, or `pools`; `now` kills instead of draining.

        Ends when the pools are gone, but begins only to end the service: the answer could not be
        sent otherwise.
        """
        arguments = Arguments(given)
        names, now = arguments.names("pools"), arguments.flag("now")
        arguments.end()
        check_pools(names, self._master.pools.names)
        self._note("stop", *names, *(["--now"] if now else []))
        if names:
            await self._master.pools.stop(names, now=now)
        else:
            self._master.stop(now=now)
        return {}

    async def start_pool(self, given: Answer, call: Call) -> Answer:
        """`pools`, one at least; ends when they serve."""
        arguments = Arguments(given)
        names = arguments.names("pools")
        arguments.end()
        if not names:
            raise ControlError("argument 'pools': name the pools to start", ExitCode.USAGE)
        check_pools(names, self._master.pools.names)
        self._note("start-pool", *names)
        await self._master.pools.start(names, call.progress)
        return {}

    async def scale(self, given: Answer, call: Call) -> Answer:  # noqa: ARG002
        """`pool` and `workers`."""
        arguments = Arguments(given)
        name, workers = arguments.text("pool"), arguments.number("workers")
        arguments.end()
        check_pools([name], self._master.pools.names)
        self._note("scale", name, str(workers))
        self._master.pools.scale(name, workers)
        return {}

    async def reopen_logs(self, given: Answer, call: Call) -> Answer:  # noqa: ARG002
        """The answer's `files` are the paths that were opened anew."""
        Arguments(given).end()
        return {"files": self._master.reopen_logs()}

    async def upgrade(self, given: Answer, call: Call) -> Answer:
        """Only a failure is answered here; see Service.upgrade."""
        Arguments(given).end()
        return await self._master.upgrade(call)
