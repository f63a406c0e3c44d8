cdef class _Fields:
    pass

cdef class Begin(_Fields):
    cdef public object request_id
    cdef public object role
    cdef public bint keep_conn

cdef class Params(_Fields):
    cdef public object request_id
    cdef public list pairs

cdef class Stdin(_Fields):
    cdef public object request_id
    cdef public bytes data

cdef class StdinEnd(_Fields):
    cdef public object request_id

cdef class Data(_Fields):
    cdef public object request_id
    cdef public bytes data

cdef class DataEnd(_Fields):
    cdef public object request_id

cdef class Abort(_Fields):
    cdef public object request_id

cdef class Send(_Fields):
    cdef public bytes data
    cdef public bint close
    cdef public str fault

cdef class Stdout(_Fields):
    cdef public object request_id
    cdef public bytes data

cdef class Stderr(_Fields):
    cdef public object request_id
    cdef public bytes data

cdef class EndRequest(_Fields):
    cdef public object request_id
    cdef public object app_status
    cdef public object protocol_status

cdef class Values(_Fields):
    cdef public list pairs

cdef class Unknown(_Fields):
    cdef public object kind
