from pyfpm.cli.request import parse_headers, parse_params, render_head
from pyfpm.cli.responder import request_params
from pyfpm.front.cgi_head import parse_head


def test_headers_become_cgi_variables():
    """Names are mapped as RFC 3875 has it, repeated ones joined, the two odd ones without HTTP_."""
    assert parse_headers(("X-A: 1", "x-a:2", "Content-Type: text/x", "Host: shop:80")) == {
        "HTTP_X_A": b"1, 2",
        "CONTENT_TYPE": b"text/x",
        "HTTP_HOST": b"shop:80",
    }


def test_params_are_taken_as_they_are():
    """Only the first = divides; empty values are values."""
    assert parse_params(("A=b=c", "EMPTY=")) == {"A": b"b=c", "EMPTY": b""}


def test_uri_is_split_and_decoded_for_the_responder():
    """The raw URI, its query and the decoded path each have their variable."""
    params = request_params("GET", "/caf%C3%A9/x?y=%20")
    assert params["REQUEST_URI"] == b"/caf%C3%A9/x?y=%20"
    assert params["QUERY_STRING"] == b"y=%20"
    assert params["SCRIPT_NAME"] == "/café/x".encode()


def test_head_is_shown_with_status_first_and_an_empty_line_last():
    """The head can be told from the body."""
    head = parse_head(b"X-A: 1\r\nStatus: 404 Not Found")
    assert render_head(head) == "Status: 404 Not Found\nX-A: 1\n\n"
