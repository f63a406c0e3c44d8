cimport cython

cdef object _set_blocking

cdef class Intake:
    cdef object _complain
    cdef object _epoll
    cdef object _channel
    cdef dict _listeners
    cdef bint _has_listeners
    cdef readonly bint armed
    cdef readonly bint took_kept
    cdef readonly object channel_source
    cdef readonly object refusals

    cpdef take_one(self, object source)

cdef class _Listener:
    cdef readonly object socket
    cdef object _accept
    cdef object _gate
    cdef object _list

    @cython.locals(refused=Py_ssize_t)
    cpdef object accept(self, Intake intake)
