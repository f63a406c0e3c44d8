cimport cython

from pyfpm.runtime.connection cimport Connection
from pyfpm.runtime.response cimport Response
from pyfpm.scoreboard.slot cimport SlotWriter as SlotWriterType

cdef object _monotonic_ns, _BytesIO

cdef class Exchange:
    cdef object _queue_limit
    cdef object _ran_out
    cdef readonly object refusals
    cdef object _reserve
    cdef object _application
    cdef object _limits
    cdef object _write_timeout_s
    cdef SlotWriterType _slot
    cdef dict _pages
    cdef long long _cpu_ns
    cdef long long _next_cpu_ns
    cdef long long _busy_ns
    cdef public long long mean_ns
    cdef public long long ended_ns
    cdef Response _response
    cdef object _stream
    cdef object _access

    @cython.locals(environ=dict, response=Response, is_page=bint, texts=str)
    cpdef bint answer(self, Connection connection, long long started_ns) except *

    cpdef bint refuse(self, Connection connection, object refusal) except *
    cdef _answer_without_memory(self, dict environ, Response response, object error)
    cdef bint _answer_page(self, dict environ, Response response) except *
    cdef object _body_of(self, Connection connection, dict environ, Response response)

    @cython.locals(now_ns="long long", duration_ns="long long")
    cdef _end(self, long long started_ns, bint failed)

    @cython.locals(cpu_ns="long long", used_ns="long long")
    cpdef account_cpu(self)
