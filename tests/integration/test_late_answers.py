"""Zygotes that answer about when they are given up: late is not a lie."""

import asyncio
import contextlib
import logging
import math
import socket
from types import SimpleNamespace

import pytest

from pyfpm.config import Preload
from pyfpm.logs import Log
from pyfpm.master.handles import ZygoteHandle
from pyfpm.master.link import ControlLink
from pyfpm.master.turns import Turns
from pyfpm.master.zygotes import ZygoteKeeper
from pyfpm.messages import BootFailed, Ready, UnsafePreload, encode_message

BOOT_TIMEOUT_S = 0.05
READY = Ready(0.1, preloaded=True, reason="")
# Before, at and after the end of boot_timeout, with steps below what a loop needs for one turn.
# The first and the last are certain: said before the loop turns, and long after the timer.
NEAR_S = [BOOT_TIMEOUT_S + step * 0.0002 for step in range(-12, 13)]
INTERVALS_S = [0.0, *NEAR_S, 2 * BOOT_TIMEOUT_S]


class Bench:
    """A keeper whose zygote is this test: a socket, and a death that it only notes."""

    def __init__(self):
        self.failures = []
        self.killed = []
        self.ends = []
        boots = SimpleNamespace(
            boot_failed=lambda text, started_s: self.failures.append(text),
            booted=lambda: None,
            retry_s=-math.inf,
            is_ending=False,
        )
        options = SimpleNamespace(
            app=SimpleNamespace(origin="f.conf:3"),
            boot_timeout=BOOT_TIMEOUT_S,
            preload=Preload.AUTO,
            python="python3",
        )
        processes = SimpleNamespace(
            start_zygote=self.start,
            end=lambda zygote, signum: self.killed.append(zygote),
            is_hidden=lambda zygote: False,
        )
        generation = SimpleNamespace(number=1, options=options, processes=processes, boots=boots)
        self.keeper = make_keeper(generation, self)

    def start(self, number, *, preload, on_message, emit):
        handle = ZygoteHandle(number, 0.0, preloads=True)
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        share = Turns(1e6, 1e6).join(1e6)
        handle.link = ControlLink(ours, on_message(handle), share)
        handle.pid = 4711
        return handle

    def say(self, message):
        with contextlib.suppress(OSError):  # the master has hung up: the zygote is to be killed
            self.theirs.send(encode_message(message))


def make_keeper(generation, bench):
    return ZygoteKeeper(
        generation,
        SimpleNamespace(watch=lambda pid, ended: bench.ends.append(ended)),
        Log("shop"),
        emit=lambda stream, line: None,
        on_claim=None,
        on_spawn_failed=None,
        on_ended=lambda zygote: None,
        look=lambda: None,
    )


@pytest.mark.parametrize("answer", [READY, BootFailed("slow"), UnsafePreload("a thread")], ids=repr)
def test_answer_that_comes_about_the_end_of_boot_timeout_is_not_accused(answer, caplog):
    """Whichever comes first, the zygote is taken or given up, once, and has broken no rule."""
    caplog.set_level(logging.DEBUG, logger="pyfpm")

    async def boot(interval_s):
        bench = Bench()
        loop = asyncio.get_running_loop()
        bench.keeper.want()
        zygote = bench.keeper.zygote
        if interval_s:
            loop.call_later(interval_s, bench.say, answer)
        else:
            bench.say(answer)
        await asyncio.sleep(3 * BOOT_TIMEOUT_S)
        outcome = zygote.ready, len(bench.failures), bool(bench.killed)
        bench.ends[0](SimpleNamespace(code=-9, signum=9, text="on signal 9"))
        bench.theirs.close()
        return outcome, bench.failures

    async def main():
        return await asyncio.gather(*map(boot, INTERVALS_S))

    found = asyncio.run(main())
    assert not [text for text in caplog.messages if "broke the rules" in text]
    for (ready, failures, killed), _ in found:
        assert failures <= 1
        assert not (ready and killed)
    assert found[0][1] == (["slow"] if answer == BootFailed("slow") else [])
    assert len(found[-1][1]) == 1
    assert "boot_timeout" in found[-1][1][0]
