"""CGI on both ends of a request: parameters to a WSGI environ, a response to its header block."""

from pyfpm.cgi.environ import EnvironBuilder
from pyfpm.cgi.lengths import BodyLength, declared_length
from pyfpm.cgi.paths import PathInfo
from pyfpm.cgi.response import ResponseHead, format_head, simple_response

__all__ = [
    "BodyLength",
    "EnvironBuilder",
    "PathInfo",
    "ResponseHead",
    "declared_length",
    "format_head",
    "simple_response",
]
