"""SCRIPT_NAME and PATH_INFO: the rules, one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.cgi.paths import normalise_mount, path_of_uri, split_path, strip_proxy_prefix
from pyfpm.errors import BadRequest


@pytest.mark.parametrize(
    ("script", "info", "expected"),
    [
        ("/a/b", "", ("", "/a/b")),
        ("", "/a/b", ("", "/a/b")),
        ("/a", "/b", ("/a", "/b")),
        ("", "", ("", "")),
        ("/", "", ("", "/")),
        ("/", "/b", ("", "/b")),
        ("/a/", "/b", ("/a", "/b")),
        ("/a/", "b", ("/a", "/b")),
        ("/a", "b", ("", "/ab")),
        ("/a", "/", ("/a", "/")),
        ("/a", "//x/../y", ("/a", "//x/../y")),
        ("/a/", "", ("", "/a/")),
    ],
)
def test_pair_without_mount_is_repaired(script, info, expected):
    """Without PATH_INFO the whole path is PATH_INFO; SCRIPT_NAME never ends in a slash."""
    assert split_path(script, info, "") == expected


@pytest.mark.parametrize(
    ("script", "info", "expected"),
    [
        ("/app/x", "", ("/app", "/x")),
        ("/app", "", ("/app", "")),
        ("/app/", "", ("/app", "/")),
        ("", "/app/x", ("/app", "/x")),
        ("/app", "/x", ("/app", "/x")),
        ("/app/x", "/y", ("/app", "/x/y")),
        ("/apple", "", ("", "/apple")),
        ("/app", "le", ("", "/apple")),
        ("/other/app", "", ("", "/other/app")),
        ("/other", "/app", ("/other", "/app")),
        ("/", "/app/x", ("/app", "/x")),
    ],
)
def test_mount_is_cut_on_a_segment_border(script, info, expected):
    """The mount wins wherever the web server drew its border, and never inside a segment."""
    assert split_path(script, info, "/app") == expected


@pytest.mark.parametrize("path", ["/a\0b", "*", "a", "host:443", "\0"])
def test_path_that_no_application_should_see_is_a_bad_request(path):
    """NUL ends strings elsewhere; PEP 3333 has no relative paths."""
    for script, info in ((path, ""), ("", path)):
        with pytest.raises(BadRequest) as caught:
            split_path(script, info, "")
        assert caught.value.status == 400


@given(st.text("/ab", max_size=6), st.text("/ab", max_size=6), st.sampled_from(["", "/a", "/a/b"]))
def test_any_pair_keeps_the_rules_of_wsgi(script, info, mount):
    """SCRIPT_NAME is empty or absolute without a slash at its end; PATH_INFO empty or absolute."""
    try:
        script_name, path_info = split_path(script, info, mount)
    except BadRequest:
        return
    assert script_name == "" or (script_name[0] == "/" and script_name[-1] != "/")
    assert path_info == "" or path_info[0] == "/"
    assert (script_name + path_info).replace("/", "") == (script + info).replace("/", "")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a%2Fb%20c?d=%20", "/a/b c"),
        ("/%C3%A9//x/../y", "/\xc3\xa9//x/../y"),
        ("/%2541", "/%41"),
        ("/100%", "/100%"),
        ("/%zz", "/%zz"),
        ("http://host:80/a%20b?c", "/a b"),
        ("http://host", "/"),
        ("http://host?q", "/"),
        ("/a://b", "/a://b"),
        ("//host/a", "//host/a"),
        ("/\xe9", "/\xe9"),
        ("*", "*"),
        ("host:443", "host:443"),
    ],
)
def test_raw_uri_is_decoded_once(uri, path):
    """Query and authority go, percent signs are read once, the rest stays."""
    assert path_of_uri(uri) == path


@pytest.mark.parametrize(
    ("filename", "path"),
    [
        ("/srv/app.py", "/srv/app.py"),
        ("proxy:fcgi://localhost:9000/srv/app.py", "/srv/app.py"),
        ("proxy:fcgi://localhost//app/x", "//app/x"),
        ("proxy:unix:/run/app.sock|fcgi://localhost/app/x?q=1", "/app/x"),
        ("proxy:fcgi://localhost", ""),
        ("proxy:balancer://shop/app", "/app"),
        ("proxy:", ""),
    ],
)
def test_apache_prefix_is_stripped(filename, path):
    """mod_proxy_fcgi puts its worker's URL in front of SCRIPT_FILENAME."""
    assert strip_proxy_prefix(filename) == path


@pytest.mark.parametrize(
    ("mount", "normalised"),
    [("", ""), ("/", ""), ("/app", "/app"), ("/app/", "/app"), ("/\u00e9", "/\xc3\xa9")],
)
def test_mount_is_compared_as_bytes_without_its_last_slash(mount, normalised):
    """Paths are bytes read as latin-1, so a mount has to be, too."""
    assert normalise_mount(mount) == normalised


def test_relative_mount_is_refused():
    """It could never match."""
    with pytest.raises(ValueError, match="begin with /"):
        normalise_mount("app")
