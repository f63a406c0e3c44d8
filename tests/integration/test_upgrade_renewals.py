"""Upgrades while a tenant has its pool renewed."""

import pytest
from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.upgrades import assert_upgraded

from pyfpm.messages import InheritedDescriptor

APP = f"""
import os, pathlib, socket, time
HERE = pathlib.Path(__file__).parent
if (HERE / "slow").exists():
    print("a slow import begins", flush=True)
    time.sleep(200)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/shut":
        channel = os.dup({int(InheritedDescriptor.CHANNEL_SEND)})
        socket.socket(fileno=channel).shutdown(socket.SHUT_RDWR)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""
POOLS = """
[pool:slow]
app = slow:app
listen = %(here)s/slow.sock
boot_timeout = 150s
pm = static
pm.max_children = 1
preload = {preload}
"""


@pytest.mark.parametrize("preload", ["on", "off"])
def test_upgrade_waits_for_no_renewal_that_a_tenant_draws_out(preload):
    """What runs is given up, since the upgrade renews every pool; the old workers serve on."""
    with Pyfpm(POOLS.format(preload=preload), files={"slow.py": APP}) as fpm:
        app = next(fpm.folder.rglob("slow.py")).parent
        (app / "slow").touch()
        assert fetch(fpm.address("slow.sock"), "/shut").status == 200
        fpm.log.wait_for("a slow import begins", timeout_s=60)
        assert fpm.pool_status("slow")["state"] == "reloading"
        (app / "slow").unlink()
        pid = fpm.process.pid
        assert_upgraded(fpm.command("upgrade"))
        assert fpm.process.pid == pid
        wait_until(lambda: fpm.pool_status("slow")["state"] == "running", timeout_s=60)
        assert fetch(fpm.address("slow.sock")).body == b"served"
