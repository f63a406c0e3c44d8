cdef class BodyLength:
    cdef object _remaining
    cdef readonly object surplus_bytes

    cpdef object allow(self, object size)
    cpdef count(self, object size)
    cpdef object admit(self, object piece)
