"""A worker's engine, put together from its parts."""

import select
import socket

from pyfpm.cgi import EnvironBuilder, PathInfo
from pyfpm.messages import BootDocument, InheritedDescriptor, RequestLimits
from pyfpm.runtime.application import Application
from pyfpm.runtime.assembly import Assembly
from pyfpm.runtime.channel import Channel
from pyfpm.runtime.connection_table import ConnectionTable
from pyfpm.runtime.departure import OUT_OF_MEMORY, TIMEOUT, Departure
from pyfpm.runtime.engine import Engine
from pyfpm.runtime.exchange import Exchange
from pyfpm.runtime.handoff import HandOff
from pyfpm.runtime.intake import Intake
from pyfpm.runtime.orders import Orders
from pyfpm.runtime.pages import make_pages
from pyfpm.runtime.queue_limit import QueueLimit
from pyfpm.runtime.recycling import Recycling
from pyfpm.runtime.shared import SharedMemory
from pyfpm.runtime.time_limit import time_limit
from pyfpm.runtime.wsgi import environ_template
from pyfpm.scoreboard import SlotWriter


def construct_engine(
    document: BootDocument,
    control: socket.socket,
    application: Application,
    shared: SharedMemory,
    slot: SlotWriter,
) -> Engine:
    """The engine of this worker, and the time limit of its requests; `control` leads to the master.

    Takes over the descriptors that the zygote inherited (messages.InheritedDescriptor).
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
    intake = Intake(epoll, document.listeners, channel, lambda line: orders.log("error", line))
    hand_off = HandOff(channel, table, slot, orders)
    departure = Departure(orders=orders, intake=intake, table=table, hand_off=hand_off)
    exchange = Exchange(
        application,
        limits,
        slot,
        make_pages(document, shared.board, shared.notice),
        queue_limit=_make_queue_limit(limits, orders),
        ran_out=lambda: departure.hurry(OUT_OF_MEMORY),
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
        assembly=Assembly(builder, limits),
        exchange=exchange,
        departure=departure,
        recycling=Recycling(limits, slot.words, orders) if is_recycled else None,
        slot=slot,
        limits=limits,
        use_minder=document.minder,
    )


def _make_queue_limit(limits: RequestLimits, orders: Orders) -> QueueLimit | None:
    if not limits.queue_timeout_s:
        return None
    return QueueLimit(limits.queue_timeout_s, lambda line: orders.log("warning", line))
