cimport cython

cdef tuple _BYTES

@cython.locals(length=Py_ssize_t)
cpdef bytes encode_response(object request_id, bytes head, object body)

@cython.locals(length=Py_ssize_t, start=Py_ssize_t, buffers=list)
cpdef list encode_stdout(object request_id, object data)

cpdef bytes encode_stderr(object request_id, object data)

cpdef bytes encode_end(object request_id, object app_status=*, object protocol_status=*)

cpdef bytes encode_end_request(object request_id, object app_status=*, object protocol_status=*)

cpdef bytes encode_values_result(bytes pairs)

cpdef bytes encode_unknown_type(object kind)
