cimport cython

from pyfpm.runtime.response cimport Response

cpdef run_application(object application, dict environ, Response response)
cdef _answer_failure(dict environ, Response response, object error)
cdef _close(object result, dict environ)
cdef _send(object result, Response response)

@cython.locals(size=Py_ssize_t)
cdef _send_whole(object chunks, Response response)

cdef _send_long(object chunks, Response response)
cdef _fail(Response response, object status)
