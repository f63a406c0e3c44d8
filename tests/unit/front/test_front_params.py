from pyfpm.front.params import build_params

ENVIRON = {
    "REQUEST_METHOD": "POST",
    "REQUEST_URI": "/caf%C3%A9?x=1",
    "PATH_INFO": "/caf\xc3\xa9",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "x=1",
    "SERVER_NAME": "waitress.invalid",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "waitress",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_HOST": "127.0.0.1",
    "REMOTE_PORT": "40000",
    "CONTENT_TYPE": "text/plain",
    "CONTENT_LENGTH": "3",
    "HTTP_HOST": "shop.example:8000",
    "HTTP_COOKIE": "a=1",
    "HTTP_PROXY": "http://evil",
    "HTTP_EXPECT": "100-continue",
    "wsgi.url_scheme": "http",
    "wsgi.input": object(),
    "waitress.client_disconnected": object(),
}


def test_request_becomes_the_cgi_variables_of_a_web_server():
    """The pool sees what nginx would send, as bytes, and nothing of the gateway's own."""
    params = dict(build_params(ENVIRON))
    start = params.pop(b"REQUEST_START")
    software = params.pop(b"SERVER_SOFTWARE")
    assert params == {
        b"GATEWAY_INTERFACE": b"CGI/1.1",
        b"REQUEST_METHOD": b"POST",
        b"REQUEST_URI": b"/caf%C3%A9?x=1",
        b"PATH_INFO": b"/caf\xc3\xa9",
        b"SCRIPT_NAME": b"",
        b"QUERY_STRING": b"x=1",
        b"SERVER_NAME": b"shop.example",
        b"SERVER_PORT": b"8000",
        b"SERVER_PROTOCOL": b"HTTP/1.1",
        b"REMOTE_ADDR": b"127.0.0.1",
        b"REMOTE_PORT": b"40000",
        b"REQUEST_SCHEME": b"http",
        b"CONTENT_TYPE": b"text/plain",
        b"CONTENT_LENGTH": b"3",
        b"HTTP_HOST": b"shop.example:8000",
        b"HTTP_COOKIE": b"a=1",
    }
    assert float(start) > 0
    assert software.startswith(b"pyfpm/")


def test_proxy_header_of_the_client_does_not_reach_the_pool():
    """HTTP_PROXY would steer programs that the application starts."""
    assert b"HTTP_PROXY" not in dict(build_params(ENVIRON))


def test_host_forms_give_the_server_name():
    """An IPv6 literal keeps its brackets, a port is cut off, a missing header has a stand-in."""
    for host, name in [("[::1]:8000", b"[::1]"), ("a:1", b"a"), ("a", b"a"), ("", b"localhost")]:
        assert dict(build_params(ENVIRON | {"HTTP_HOST": host}))[b"SERVER_NAME"] == name
