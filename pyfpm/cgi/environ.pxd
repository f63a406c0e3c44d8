cimport cython

from pyfpm.cgi.layout cimport Layout

cdef class EnvironBuilder:
    cdef dict _template
    cdef dict _defaults
    cdef object _limits
    cdef Py_ssize_t _most_pairs
    cdef str _mount
    cdef object _path_info
    cdef readonly dict _names
    cdef readonly Layout _layout
    cdef readonly list _sample
    cdef set _varying
    cdef Py_ssize_t _until_learning

    @cython.locals(environ=dict, expected=Py_ssize_t, texts=list)
    cpdef dict build(self, object pairs)

    @cython.locals(
        environ=dict, layout=Layout, names=dict, text=str, raw_name=str,
        leading=Py_ssize_t, is_complete=bint, _=Py_ssize_t,
        expected=Py_ssize_t, position=Py_ssize_t, end=Py_ssize_t,
        name_length=Py_ssize_t, value_length=Py_ssize_t, start=Py_ssize_t, middle=Py_ssize_t,
    )
    cpdef dict build_from(self, bytes stream)

    cdef _learn_layout(self, bytes stream)
    cdef Layout _lay_out(self, list pairs)
    cdef str _learn(self, str name)

    @cython.locals(values=dict)
    cdef _join_repeated(self, dict environ, list texts)

    cdef _complete(self, dict environ)

cdef _set_paths(dict environ, object source, str mount)
cdef str _decide_scheme(str https, str scheme)
cdef _set_server(dict environ, str scheme)
cdef tuple _split_host(str host)
