"""When pools are renewed without anybody asking, and when that is put off."""

import asyncio

from pyfpm.errors import SpawnError
from pyfpm.master.renewals import Renewals


class Bench:
    """Renewals that go on until they are let go; `begun` and `ended` hold what happened."""

    def __init__(self):
        self.begun, self.ended, self.let_go = [], [], asyncio.Event()
        self.renewals = Renewals(self._renew)

    async def _renew(self, name):
        self.begun.append(name)
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.ended.append(f"{name} given up")
            raise
        self.ended.append(name)
        if name == "bad":
            raise SpawnError("no")

    async def turn(self):
        for _ in range(5):
            await asyncio.sleep(0)


def scene(play):
    async def run():
        bench = Bench()
        await play(bench)
        bench.let_go.set()
        await bench.turn()
        return bench

    return asyncio.run(run())


def test_pool_that_is_being_renewed_is_not_renewed_twice():
    """But again, once that is over, however it ended."""

    async def play(bench):
        for name in ("shop", "shop", "bad"):
            bench.renewals.begin(name)
        await bench.turn()
        bench.let_go.set()
        await bench.turn()
        bench.renewals.begin("shop")
        bench.renewals.begin("bad")
        await bench.turn()

    assert scene(play).begun == ["shop", "bad", "shop", "bad"]


def test_renewal_that_runs_is_given_up_and_none_begins_while_they_are_held():
    """Both kinds begin afterwards, each once."""

    async def play(bench):
        bench.renewals.begin("shop")
        await bench.turn()
        with bench.renewals.held():
            bench.renewals.begin("blog")
            bench.renewals.begin("shop")
            await bench.turn()
            assert (bench.begun, bench.ended) == (["shop"], ["shop given up"])

    bench = scene(play)
    assert sorted(bench.begun) == ["blog", "shop", "shop"]
    assert sorted(bench.ended) == ["blog", "shop", "shop given up"]


def test_renewal_begins_anew_where_what_held_it_ended_at_once():
    """The one that was given up has not heard of it by then."""

    async def play(bench):
        bench.renewals.begin("shop")
        await bench.turn()
        with bench.renewals.held():
            pass
        await bench.turn()
        bench.renewals.begin("shop")

    bench = scene(play)
    assert bench.begun == ["shop", "shop"]
    assert bench.ended == ["shop given up", "shop"]
