"""A master with a pool `shop` whose code and configuration are changed while it serves."""

import contextlib

from harness.machine import wait_until
from harness.master import Pyfpm

APP = """\
import os
VERSION = {version!r}
def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [VERSION.encode()]
"""
POOL = """\
[pool:shop]
app = shop:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 4
"""
OTHER = """\
[pool:blog]
app = blog:app
listen = %(here)s/blog.sock
pm = static
pm.max_children = 1
"""


@contextlib.contextmanager
def shop(*, pools=POOL, version="one", **options):
    """A master whose static pool `shop` has all its four workers."""
    files = {"shop.py": APP.format(version=version), "blog.py": APP.format(version=version)}
    with Pyfpm(pools, files=files, **options) as master:
        if "static" in pools:
            wait_until(lambda: master.pool_status("shop")["total processes"] == 4)
        yield master


def deploy(master, version, module="shop"):
    """Put another version of the code in its place; it serves after a reload."""
    (master.app / f"{module}.py").write_text(APP.format(version=version))


def ask(master, name="shop.sock"):
    """Return which version answers."""
    with master.client(name) as client:
        return client.request().body.decode()


def processes(master, pool="shop"):
    """Return what the status says of each of the pool's workers."""
    return master.pool_status(pool, full=True)["processes"]
