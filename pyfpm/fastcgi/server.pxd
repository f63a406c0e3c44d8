cimport cython

from pyfpm.fastcgi.records cimport RecordReader

cdef Py_ssize_t _STAGE_NONE, _STAGE_PARAMS, _STAGE_STDIN, _STAGE_DATA
cdef Py_ssize_t _STAGE_COMPLETE, _STAGE_ABORTED

cdef bytearray _NOTHING
cdef Py_ssize_t _USUAL_ID, _PARAMS_START, _BOTH_ENDS_BYTES, _SHORTEST_WHOLE_BYTES
cdef bytes _KEPT_BEGIN, _CLOSED_BEGIN, _STDIN_END, _BODY_BEGIN, _BOTH_ENDS

cdef class ServerConnection:
    cdef object _limits
    cdef object _values
    cdef object _roles
    cdef bint _serves_responders
    cdef RecordReader _reader
    cdef bytearray _pending
    cdef Py_ssize_t _stage
    cdef Py_ssize_t _active_id
    cdef object _role
    cdef readonly object _params

    cpdef bint is_quiet(self) except *
    cpdef request_ended(self)

    @cython.locals(keep_conn=bint, size=Py_ssize_t, stop=Py_ssize_t, after=Py_ssize_t, body=bytes)
    cpdef tuple receive_whole(self, bytes data)

    @cython.locals(events=list, reader=RecordReader)
    cpdef list receive(self, bytes data)

    cdef _take_begin(self, object request_id, bytes content, list events)

    @cython.locals(size=Py_ssize_t)
    cdef _take_params(self, bytes content, list events)

    cdef _take_stdin(self, bytes content, list events)
    cdef _take_data(self, bytes content, list events)
    cdef _take_management(self, object kind, bytes content, list events)

@cython.locals(start=Py_ssize_t, size=Py_ssize_t, stop=Py_ssize_t)
cdef bytes _cut_whole_body(bytes data, Py_ssize_t position)

cdef _check_direction(object kind)
