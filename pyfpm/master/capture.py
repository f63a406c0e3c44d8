"""A running pool as data, for the master that takes this one's place.

It changes nothing, but that zygotes are asked at once for the workers that wait for their turn.
"""

from dataclasses import asdict

from pyfpm.config import format_address, snapshot_options
from pyfpm.master.generation import Generation
from pyfpm.master.handles import WorkerHandle
from pyfpm.master.listeners import Listener
from pyfpm.master.pool import Pool
from pyfpm.master.state import (
    SavedChannel,
    SavedGeneration,
    SavedListener,
    SavedPool,
    SavedWorker,
)


def save_pool(pool: Pool) -> SavedPool:
    """The pool, outside of any reload: there is no generation on trial."""
    generations = list(pool.generations)
    limits = asdict(pool.limits)
    limits["pm"] = pool.limits.pm.value
    listeners = {
        id(one): one
        for generation in generations
        for one in generation.listeners
        if one.sock.fileno() >= 0
    }
    channels = {id(generation.channel): generation.channel for generation in generations}
    return SavedPool(
        name=pool.name,
        slots=pool.memory.slots,
        board=pool.memory.board_fd,
        notice=asdict(pool.memory.notice.current),
        health=pool.health.save(),
        limits=limits,
        generations=tuple(_save_generation(generation) for generation in generations),
        listeners=tuple(_save_listener(listener) for listener in listeners.values()),
        channels=tuple(
            SavedChannel(channel.send.fileno(), channel.receive.fileno())
            for channel in channels.values()
        ),
        workers=tuple(_save_worker(worker) for worker in pool.workers.by_serial.values()),
        last_serial=pool.workers.last_serial,
        boot_s=pool.workers.boot_s,
        adopted=pool.demand.adoption.save(),
        climbs=pool.ladder.save(),
    )


def _save_generation(generation: Generation) -> SavedGeneration:
    # A generation that drains may have listeners that are closed: its address is gone.
    open_ones = [one for one in generation.listeners if one.sock.fileno() >= 0]
    return SavedGeneration(
        number=generation.number,
        options=snapshot_options(generation.options),
        identity=generation.identity,
        listeners=tuple(listener.sock.fileno() for listener in open_ones),
        channel=generation.channel.send.fileno(),
        hands_over=generation.hands_over,
        zygotes=generation.zygotes.save(),
        access_log=None if generation.access_log is None else generation.access_log.descriptor,
        folder=None if generation.folder is None else generation.folder.save(),
    )


def _save_listener(listener: Listener) -> SavedListener:
    return SavedListener(
        descriptor=listener.sock.fileno(),
        address=listener.address,
        path=listener.path,
        inode=listener.inode,
        configured=format_address(listener.configured),
    )


def _save_worker(worker: WorkerHandle) -> SavedWorker:
    timer, replacement = worker.drain_timer, worker.replacement
    return SavedWorker(
        process=worker.save_process(worker.pid),
        serial=worker.serial,
        slot=worker.slot,
        generation=worker.generation.number,
        spawned_s=worker.spawned_s,
        luck=worker.luck,
        state=worker.state.value,
        was_ready=worker.was_ready,
        zygote_pid=None if worker.zygote is None else worker.zygote.pid,
        due=worker.due,
        replacement=None if replacement is None else replacement.serial,
        leaves_for=worker.leaves_for,
        drain_ends_s=None if timer is None else timer.when(),
        stacks=None if worker.stacks is None else worker.stacks.descriptor,
    )
