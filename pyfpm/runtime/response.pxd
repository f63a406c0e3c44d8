cimport cython

from pyfpm.cgi.lengths cimport BodyLength as BodyLengthType
from pyfpm.cgi.response cimport ResponseHead as ResponseHeadType

cdef object _os_write

cdef class Response:
    cdef object _fd
    cdef Py_ssize_t _request_id
    cdef object _method
    cdef object _timeout_s
    cdef ResponseHeadType _head
    cdef BodyLengthType _length
    cdef bint _broken
    cdef public bint abandoned
    cdef public bint begun
    cdef public bint ended
    cdef public bint input_open
    cdef public bint peer_left
    cdef readonly Py_ssize_t status
    cdef readonly long long body_bytes

    cpdef bint has_failed(self) except *
    cpdef object surplus_bytes(self)
    cpdef bint wants_no_body(self) except *
    cpdef write_part(self, object data)
    cpdef announce(self, object size_bytes)

    @cython.locals(
        head=ResponseHeadType, length=Py_ssize_t, start=Py_ssize_t, is_last=bint, parts=list
    )
    cdef _write(self, object data)

    cdef _send(self, list parts, object from_file=*)

    @cython.locals(written=Py_ssize_t)
    cdef _send_one(self, object part)

    @cython.locals(
        head=ResponseHeadType, length=BodyLengthType, parts=list, data=bytes, size=Py_ssize_t
    )
    cpdef finish(self, object body=*)

    cpdef close(self)
