"""The signals that pyfpm keeps to itself in workers.

Real-time signals, because an application may replace the handler of any ordinary one. They are
counted from the upper end, where applications that use real-time signals seldom look.
"""

from enum import IntEnum
from signal import SIGRTMAX


class ReservedSignal(IntEnum):
    """DUMP_STACKS writes the stacks of all threads to the stack pipe, also while a thread is in C.

    REQUEST_TIMEOUT raises RequestTimeout in the running request if that is overdue; MASTER_DIED
    is the parent death signal.
    """

    DUMP_STACKS = SIGRTMAX
    REQUEST_TIMEOUT = SIGRTMAX - 1
    MASTER_DIED = SIGRTMAX - 2
