from pyfpm.fastcgi.server cimport ServerConnection as ServerConnectionType

cdef class Connection:
    cdef readonly object fd
    cdef readonly ServerConnectionType codec
    cdef public bint registered
    cdef public long long deadline_ns
    cdef public Py_ssize_t served
    cdef public dict environ
    cdef public Py_ssize_t environ_bytes
    cdef public object declared
    cdef public object request_id
    cdef public bint keep
    cdef public list body
    cdef public Py_ssize_t body_bytes
    cdef public bint body_done
    cdef public Py_ssize_t held_bytes

    cpdef clear_request(self)
    cpdef add_to_body(self, bytes piece)
    cpdef Py_ssize_t waiting_bytes(self) except -1
    cpdef read_declared_length(self, object most)
    cpdef close(self)
