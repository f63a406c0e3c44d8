cimport cython

@cython.locals(size=Py_ssize_t)
cpdef put_text(object area, Py_ssize_t length_at, Py_ssize_t start, Py_ssize_t room, bytes text)
