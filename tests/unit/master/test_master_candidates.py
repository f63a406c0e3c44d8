"""Paths in the variables of a pool, as `check --sandbox` finds them."""

import pytest

from pyfpm.master.candidates import paths_in


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("/srv/media", ["/srv/media"]),
        ("/opt/a:/opt/b", ["/opt/a", "/opt/b"]),
        ("sqlite:////srv/shop/db.sqlite", ["/srv/shop/db.sqlite"]),
        ("sqlite:///relative.db", []),
        ("unix:/run/redis.sock", ["/run/redis.sock"]),
        ("--file=/etc/app.conf,'/var/x'", ["/etc/app.conf", "/var/x"]),
        ("https://example.org/path", []),
        ("postgres://user:word@host/base", []),
        ("shop.settings", []),
        ("relative/path", []),
        ("/", []),
        ("", []),
    ],
)
def test_absolute_paths_are_found_in_values(value, paths):
    """Alone, in lists, behind an option or a scheme; the address of a server is none."""
    assert paths_in(value) == paths
