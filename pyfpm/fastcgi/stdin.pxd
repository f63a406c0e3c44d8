cimport cython

cdef class StdinReader:
    cdef object _request_id
    cdef object _buffer
    cdef Py_ssize_t _start
    cdef Py_ssize_t _end
    cdef Py_ssize_t _content_bytes
    cdef Py_ssize_t _padding_bytes

    @cython.locals(kept=Py_ssize_t)
    cpdef object room(self)

    cpdef received(self, Py_ssize_t size)

    @cython.locals(taken=Py_ssize_t, wanted=Py_ssize_t, start=Py_ssize_t, size=Py_ssize_t)
    cpdef Py_ssize_t take(self, object target) except -1

    @cython.locals(start=Py_ssize_t, size=Py_ssize_t)
    cpdef bytes take_record(self)

    @cython.locals(length=Py_ssize_t, padding=Py_ssize_t)
    cpdef bytes take_rest(self)

    cdef bint _begin_content(self) except *

    @cython.locals(size=Py_ssize_t, here=Py_ssize_t)
    cdef bint _is_at_header(self) except *
