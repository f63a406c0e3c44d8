cimport cython

from pyfpm.cgi.lengths cimport BodyLength as BodyLengthType
from pyfpm.cgi.response cimport ResponseHead as ResponseHeadType

cdef class Response:
    cdef object _fd
    cdef object _request_id
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

    cpdef write_part(self, object data)
    cpdef announce(self, object size_bytes)

    @cython.locals(
        head=ResponseHeadType, length=Py_ssize_t, start=Py_ssize_t, is_last=bint, parts=list
    )
    cdef _write(self, object data)

    cdef _send(self, list parts, object from_file=*)

    @cython.locals(head=ResponseHeadType, length=BodyLengthType, parts=list)
    cpdef finish(self, object body=*)

    cpdef close(self)
