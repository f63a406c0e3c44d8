cimport cython

from pyfpm.runtime.connection cimport Connection
from pyfpm.scoreboard.slot cimport SlotWriter as SlotWriterType

cdef Py_ssize_t _PARKED

cdef class ConnectionTable:
    cdef readonly dict parked
    cdef readonly dict waiting
    cdef readonly dict lingering
    cdef public long long held_bytes
    cdef long long _most_held_bytes
    cdef public long long next_deadline_ns
    cdef public bint closed_one
    cdef object _epoll
    cdef SlotWriterType _slot
    cdef object _limits
    cdef long long _keepalive_ns

    @cython.locals(parked=dict, deadline_ns="long long")
    cpdef park(self, Connection connection)

    @cython.locals(now_ns="long long", held="long long")
    cpdef bint hold(self, Connection connection) except *

    cpdef Connection take_waiting(self, object fd)
    cpdef linger(self, Connection connection)
    cpdef read_lingering(self, object fd)
    cpdef close(self, Connection connection)
    cpdef count_without_one(self)
    cpdef unregister(self, Connection connection)
    cpdef settle(self)
    cdef bint _is_much_free(self) except *
    cdef _register(self, Connection connection)
    cdef _bring_forward(self, long long deadline_ns)
