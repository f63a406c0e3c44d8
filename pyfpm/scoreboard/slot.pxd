cimport cython

cdef Py_ssize_t _SEQUENCE, _STAGE_SINCE_NS, _REQUESTS, _REQUEST_STARTED_NS, _LAST_DURATION_NS
cdef Py_ssize_t _STAGE
cdef Py_ssize_t _LAST_CPU_NS, _CONTENT_LENGTH, _REQUESTS_5XX

cdef class SlotWriter:
    cdef object _bytes
    cdef bytes _texts
    cdef unsigned char[::1] _area
    cdef readonly object words
    cdef unsigned long long[::1] _words
    cdef unsigned long long _requests

    cpdef put(self, Py_ssize_t word, unsigned long long value)
    cpdef enter(self, object stage_code, unsigned long long now_ns)

    @cython.locals(words="unsigned long long[::1]")
    cpdef begin_request(self, unsigned long long now_ns, bytes texts, unsigned long long length)

    @cython.locals(words="unsigned long long[::1]")
    cpdef end_request(self, unsigned long long duration_ns, bint failed)

    cpdef share_cpu(self, object used_ns, object busy_ns)
