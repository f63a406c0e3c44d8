from pyfpm.runtime.connection_table cimport ConnectionTable as ConnectionTableType

cdef class Departure:
    cdef object _orders
    cdef object _intake
    cdef ConnectionTableType _table
    cdef dict _parked_places
    cdef object _hand_off
    cdef object _parked
    cdef public object asked
    cdef public bint begun
    cdef object _patience_s
    cdef public bint damaged
