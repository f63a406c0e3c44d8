cimport cython

cdef bytes _encode_length(Py_ssize_t length)

@cython.locals(
    pairs=list, _=Py_ssize_t, position=Py_ssize_t, end=Py_ssize_t, start=Py_ssize_t,
    middle=Py_ssize_t, name_length=Py_ssize_t, value_length=Py_ssize_t,
)
cpdef list decode_pairs(bytes buffer, object limits=*)

@cython.locals(first=Py_ssize_t, length=Py_ssize_t)
cdef tuple _decode_length(bytes buffer, Py_ssize_t position)
