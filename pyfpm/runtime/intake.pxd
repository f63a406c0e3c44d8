cdef object _set_blocking

cdef class Intake:
    cdef object _complain
    cdef object _epoll
    cdef object _channel
    cdef dict _listeners
    cdef bint _has_listeners
    cdef readonly bint armed
    cdef readonly object channel_source
    cdef Py_ssize_t _refused
    cdef object _next_complaint_s

    cpdef take_one(self, object source)

cdef class _Listener:
    cdef readonly object socket
    cdef object _accept
    cdef bint _is_tcp
    cdef tuple _allowed

    cpdef object accept(self, Intake intake)
