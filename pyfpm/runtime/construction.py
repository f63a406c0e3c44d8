"""A worker's engine, put together from its parts."""

import select
import socket
from importlib import import_module
from typing import TYPE_CHECKING

from pyfpm.cgi import EnvironBuilder, PathInfo
from pyfpm.messages import BootDocument, InheritedDescriptor, LinesLost, RequestLimits
from pyfpm.runtime.application import Application
from pyfpm.runtime.assembly import Assembly
from pyfpm.runtime.channel import Channel
from pyfpm.runtime.connection_table import ConnectionTable
from pyfpm.runtime.departure import OUT_OF_MEMORY, TIMEOUT, Departure
from pyfpm.runtime.engine import Engine
from pyfpm.runtime.exchange import Exchange, PageMaker
from pyfpm.runtime.handoff import HandOff
from pyfpm.runtime.intake import Intake
from pyfpm.runtime.orders import Orders
from pyfpm.runtime.queue_limit import QueueLimit
from pyfpm.runtime.recycling import Recycling
from pyfpm.runtime.refusals import Refusals
from pyfpm.runtime.shared import SharedMemory
from pyfpm.runtime.time_limit import time_limit
from pyfpm.runtime.wsgi import environ_template
from pyfpm.scoreboard import SlotWriter

if TYPE_CHECKING:
    from pyfpm.runtime.access_log import AccessLog  # loaded in pools that have one


def load_options(document: BootDocument) -> None:
    """In the zygote, once for all workers: import what only some pools need."""
    if document.status_path or document.ping_path:
        import_module("pyfpm.runtime.pages")
    if document.access_format:
        import_module("pyfpm.runtime.access_log")


def construct_engine(
    document: BootDocument,
    control: socket.socket,
    application: Application,
    shared: SharedMemory,
    slot: SlotWriter,
    access_fd: int | None = None,
) -> Engine:
    """The engine of this worker, and the time limit of its requests; `control` leads to the master.

    Takes over the descriptors that the zygote inherited (messages.InheritedDescriptor), and
    `access_fd`, which is the access log, where there is one.
    """
    limits = document.limits
    epoll = select.epoll()
    orders = Orders(control)
    channel = Channel(
        InheritedDescriptor.CHANNEL_SEND,
        InheritedDescriptor.CHANNEL_RECEIVE,
        shared.count_idle,
    )
    builder = EnvironBuilder(
        mount=document.mount,
        path_info=PathInfo(document.path_info),
        template=environ_template(),
    )
    table = ConnectionTable(epoll, slot, limits)
    refusals = Refusals(slot.words, orders.tell)
    intake = Intake(
        epoll, document.listeners, channel, lambda line: orders.log("error", line), refusals
    )
    hand_off = HandOff(channel, table, slot, orders, document.max_children)
    departure = Departure(orders=orders, intake=intake, table=table, hand_off=hand_off)
    orders.access = _open_access_log(access_fd, document, orders)
    exchange = Exchange(
        application,
        limits,
        slot,
        _make_pages(document, shared),
        queue_limit=_make_queue_limit(limits, orders),
        ran_out=lambda: departure.hurry(OUT_OF_MEMORY),
        refusals=refusals,
        access=orders.access,
    )
    time_limit.attach(
        slot.words,
        limits.terminate_timeout_s,
        is_running=exchange.is_running,
        interrupted=lambda: departure.hurry(TIMEOUT) if limits.recycle_after_timeout else None,
    )
    is_recycled = limits.max_requests or limits.max_memory_bytes
    return Engine(
        epoll=epoll,
        orders=orders,
        intake=intake,
        table=table,
        hand_off=hand_off,
        assembly=Assembly(builder, limits, refusals),
        exchange=exchange,
        departure=departure,
        recycling=Recycling(limits, slot.words, orders) if is_recycled else None,
        slot=slot,
        limits=limits,
        use_minder=document.minder,
    )


def _make_pages(document: BootDocument, shared: SharedMemory) -> dict[str, PageMaker]:
    if not (document.status_path or document.ping_path):
        return {}
    from pyfpm.runtime.pages import make_pages  # noqa: PLC0415 - see load_options

    return make_pages(document, shared.board, shared.notice)


def _open_access_log(
    access_fd: int | None, document: BootDocument, orders: Orders
) -> "AccessLog | None":
    if access_fd is None:
        return None
    from pyfpm.runtime.access_log import AccessLog  # noqa: PLC0415 - see load_options

    return AccessLog(
        access_fd, document, lambda lines, reason: orders.tell(LinesLost(lines, reason))
    )


def _make_queue_limit(limits: RequestLimits, orders: Orders) -> QueueLimit | None:
    if not limits.queue_timeout_s:
        return None
    return QueueLimit(limits.queue_timeout_s, lambda line: orders.log("warning", line))
