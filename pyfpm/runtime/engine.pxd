cimport cython

from pyfpm.runtime.assembly cimport Assembly
from pyfpm.runtime.connection cimport Connection
from pyfpm.runtime.connection_table cimport ConnectionTable
from pyfpm.runtime.departure cimport Departure as DepartureType
from pyfpm.runtime.exchange cimport Exchange
from pyfpm.runtime.intake cimport Intake as IntakeType
from pyfpm.scoreboard.slot cimport SlotWriter as SlotWriterType

cdef object _read, _monotonic_ns
cdef Py_ssize_t _PENDING, _CONNECTIONS

cdef class Engine:
    cdef public long long busy_since_ns
    cdef object _epoll
    cdef object _orders
    cdef IntakeType _intake
    cdef object _sources
    cdef ConnectionTable _table
    cdef dict _parked
    cdef object _hand_off
    cdef Assembly _assembly
    cdef Exchange _exchange
    cdef DepartureType _departure
    cdef object _recycling
    cdef SlotWriterType _slot
    cdef object _limits
    cdef long long _header_ns
    cdef long long _keepalive_ns
    cdef Py_ssize_t _keepalive_most
    cdef Connection _serving
    cdef bint _is_child
    cdef long long _connections
    cdef long long _next_line_ns
    cdef object _room
    cdef object _wake
    cdef object _minder
    cdef object _unstarted

    @cython.locals(now_ns="long long", deadline_ns="long long")
    cdef list _wait(self)

    cdef object _resting_stage(self)

    @cython.locals(parked=dict, ready=list, resumed=list, sources=list)
    cdef _turn(self, list events)

    @cython.locals(slot=SlotWriterType, left=Py_ssize_t, connection=Connection)
    cdef _serve_ready(self, list ready, Py_ssize_t later=*)
    cdef _sort_others(self, list events, list resumed, list sources)
    cdef _take_other(self, object fd)
    cdef _sweep(self)
    cdef bint _take_new(self, object source, list ready) except *

    @cython.locals(connection=Connection)
    cdef _admit(self, object fd, list ready, long long patience_ns)

    cdef _listen_again(self)
    cpdef _receive(self, Connection connection)
    cdef _serve(self, Connection connection)

    @cython.locals(most=Py_ssize_t)
    cdef _after(self, Connection connection, bint whole)
    cdef _keep(self, Connection connection)
    cpdef _turn_away(self, Connection connection)
