cimport cython

from pyfpm.cgi.environ cimport EnvironBuilder as EnvironBuilderType
from pyfpm.runtime.connection cimport Connection

cdef class Assembly:
    cdef EnvironBuilderType _builder
    cdef object _limits
    cdef object _refusals
    cdef object _most_body
    cdef object _codec_limits
    cdef dict _values

    cpdef Connection new_connection(self, object fd)

    cpdef take_whole(self, Connection connection, tuple whole)

    @cython.locals(answers=list)
    cpdef bint take(self, Connection connection, bytes data, object held_bytes) except *

    cdef bint _is_long(self, Connection connection, object held_bytes) except *
    cdef _take_rare(self, Connection connection, object event, list answers)
    cdef _check_whole_body(self, Connection connection)
