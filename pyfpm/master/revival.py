"""A pool from the data that the master before an exec left: the inverse of `capture`.

It registers readers and timers and makes the pool's new notice, and that is all that happens
outside of this process: so the trial of an upgrade may do it beside the master that still runs,
with descriptors of its own for everything. `Pool.start` then sets it going.
"""

import socket
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pyfpm.config import parse_address, restore_pool
from pyfpm.kernel.bare_socket import refuse_descriptors
from pyfpm.master.generation import Generation
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.listeners import Listener
from pyfpm.master.pool import Pool
from pyfpm.master.setting import Setting
from pyfpm.master.shared import HandOffChannel
from pyfpm.master.stacks import StackPipe
from pyfpm.master.state import SavedGeneration, SavedListener, SavedPool, SavedWorker
from pyfpm.policy import Limits, ProcessManager


def revive_pool(saved: SavedPool, setting: Setting) -> Pool:
    """The pool with all its generations, processes and connections."""
    listeners = {one.descriptor: _revive_listener(one) for one in saved.listeners}
    channels = {one.send: HandOffChannel(one) for one in saved.channels}
    pool: Pool | None = None
    generations = {}
    for one in saved.generations:
        if pool is None:
            pool = _revive_current(saved, one, listeners, channels, setting)
            generation = pool.generation
        else:
            parts = _parts(saved.name, one, listeners, channels)
            generation = pool.generations.add_older(*parts, one)
        generation.hands_over = one.hands_over
        generation.zygotes.resume(one.zygotes)
        generations[one.number] = generation
    if pool is None:
        raise ValueError(f"pool {saved.name} has no generation")
    _revive_workers(pool, generations, saved.workers)
    pool.ladder.resume(saved.climbs)
    return pool


def _revive_current(
    saved: SavedPool,
    current: SavedGeneration,
    listeners: Mapping[int, Listener],
    channels: Mapping[int, HandOffChannel],
    setting: Setting,
) -> Pool:
    _, options, identity, sockets, channel = _parts(saved.name, current, listeners, channels)
    pool = Pool(options, identity, sockets, setting, channel, saved)
    pool.health.resume(saved.health)
    pool.generation.limits = _revive_limits(pool.limits, saved.limits)
    pool.workers.last_serial, pool.workers.boot_s = saved.last_serial, saved.boot_s
    pool.demand.adoption.resume(saved.adopted)
    return pool


def _parts(
    name: str,
    saved: SavedGeneration,
    listeners: Mapping[int, Listener],
    channels: Mapping[int, HandOffChannel],
) -> tuple[int, Any, Any, list[Listener], HandOffChannel]:
    """What a generation is made of, in the order of `Generations.add_older`."""
    return (
        saved.number,
        restore_pool(name, saved.options),
        saved.identity,
        [listeners[descriptor] for descriptor in saved.listeners],
        channels[saved.channel],
    )


def _revive_listener(saved: SavedListener) -> Listener:
    sock = socket.socket(fileno=saved.descriptor)
    refuse_descriptors(sock)  # an older master may have made it
    return Listener(
        address=saved.address,
        sock=sock,
        path=saved.path,
        inode=saved.inode,
        configured=parse_address(saved.configured),
    )


def _revive_limits(fresh: Limits, saved: Mapping[str, Any]) -> Limits:
    """As they were: `scale` holds until the next reload."""
    known = {one.name for one in fields(Limits)} - {"pm"}
    values = {name: value for name, value in saved.items() if name in known}
    return replace(fresh, pm=ProcessManager(saved["pm"]), **values)


def _revive_workers(
    pool: Pool, generations: Mapping[int, Generation], saved: tuple[SavedWorker, ...]
) -> None:
    keeper = pool.workers
    for one in saved:
        generation = generations[one.generation]
        worker = WorkerHandle(one.serial, one.slot, one.spawned_s, generation, one.luck)
        worker.pid = one.process.pid
        worker.state = WorkerState(one.state)
        worker.was_ready, worker.due, worker.leaves_for = one.was_ready, one.due, one.leaves_for
        # Of a worker that is known by its pid nobody asks any more which zygote made it.
        zygote = generation.zygotes.zygote
        if zygote is not None and zygote.pid == one.zygote_pid:
            worker.zygote = zygote
        if one.stacks is not None:
            worker.stacks = StackPipe(one.stacks)
        keeper.resume(worker, one)
    for one in saved:
        if one.replacement is not None:
            keeper.pair(keeper.by_serial[one.serial], keeper.by_serial[one.replacement])
