cimport cython

cdef class Layout:
    cdef dict _environ
    cdef bytes _rest
    cdef list _steps
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t end
    cdef readonly bint is_complete

    @cython.locals(
        environ=dict, stretch=bytes, name=bytes, key=str,
        position=Py_ssize_t, start=Py_ssize_t, length=Py_ssize_t,
    )
    cpdef dict fill(self, bytes stream)
