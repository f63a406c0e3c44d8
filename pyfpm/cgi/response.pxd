cimport cython

cdef dict _checked_statuses, _checked_names

cdef class ResponseHead:
    cdef readonly bytes lines
    cdef readonly Py_ssize_t status
    cdef readonly bint bodyless
    cdef readonly object content_length

@cython.locals(pieces=list, lines=bytes, code=Py_ssize_t, bodyless=bint)
cpdef ResponseHead format_head(object status, object headers, object method)

cdef object _plain(object text)
cdef _check_status(object status)
cdef _check_name(object name)
cdef _check_value(object name, object value)
cdef object _check_length(str value, object before)
