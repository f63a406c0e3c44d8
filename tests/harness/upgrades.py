"""A pool under a master that is upgraded, and what shows that all went well."""

import subprocess

from harness.fcgi_client import FcgiResponse
from harness.machine import wait_until
from harness.master import Pyfpm

SHOP = """
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 2
"""


def assert_upgraded(done: subprocess.CompletedProcess[str], version: str = "") -> None:
    """Assert that the command succeeded, and that it names the version."""
    assert done.returncode == 0, done.stderr
    assert f"pyfpm {version}" in done.stdout


def body_of(response: FcgiResponse) -> bytes:
    """Return the body of a response that must be whole."""
    assert (response.status, response.complete) == (200, True), response
    return response.body


def both_pids(service: Pyfpm) -> list[int]:
    """Wait until the pool has its two workers."""
    wait_until(lambda: service.pool_status("shop")["idle processes"] == 2)
    return service.worker_pids("shop")
