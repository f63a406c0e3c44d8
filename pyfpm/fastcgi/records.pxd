cimport cython

cpdef bytes frame(object kind, object request_id, object content)

@cython.locals(start=Py_ssize_t, length=Py_ssize_t)
cpdef bytes frame_stream(object kind, object request_id, object data)

cdef class RecordReader:
    cdef readonly bytearray pending
    cdef Py_ssize_t _wanted_bytes

    @cython.locals(
        records=list, pending=bytearray,
        position=Py_ssize_t, end=Py_ssize_t, wanted=Py_ssize_t,
        length=Py_ssize_t, padding=Py_ssize_t,
        start=Py_ssize_t, stop=Py_ssize_t, after=Py_ssize_t,
    )
    cpdef list feed(self, bytes data)
