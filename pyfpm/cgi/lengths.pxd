cpdef object parse_length(str text)

cdef class BodyLength:
    cdef object _remaining
    cdef readonly object surplus_bytes

    cpdef object missing_bytes(self)
    cpdef object allow(self, object size)
    cpdef count(self, object size)
    cpdef object admit(self, object piece)
