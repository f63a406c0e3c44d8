"""CGI on both ends of a request: parameters to a WSGI environ, a response to its header block."""

from pyfpm.cgi.environ import EnvironBuilder
from pyfpm.cgi.lengths import BodyLength, declared_length
from pyfpm.cgi.paths import PathInfo
from pyfpm.cgi.request_start import waited_s
from pyfpm.cgi.response import HOP_BY_HOP, ResponseHead, format_head, simple_response

__all__ = [
    "HOP_BY_HOP",
    "BodyLength",
    "EnvironBuilder",
    "PathInfo",
    "ResponseHead",
    "declared_length",
    "format_head",
    "simple_response",
    "waited_s",
]
