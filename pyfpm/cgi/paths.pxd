cpdef tuple split_path(str script, str info, str mount)

cpdef str path_of_uri(str uri)

cpdef str strip_proxy_prefix(str filename)
