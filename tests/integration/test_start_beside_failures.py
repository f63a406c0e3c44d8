"""Pools that fail at the start of the service, beside others that may still serve.

Owners share a machine: the service ends only where there is nobody left for whom it could go on.
"""

import os
import socket

from harness.fcgi_client import fetch
from harness.hostile_app import pool
from harness.machine import wait_until
from harness.master import Pyfpm

BAD = pool("bad", app="fails:app", most=1)
FAILS = {"fails.py": "raise SystemExit(1)\n"}
BOOT_FAILED = r"ALERT: \[pool bad\] boot failed"


def test_an_ondemand_pool_is_served_beside_one_that_fails():
    """It has no worker at the start, and nobody waits for it: it serves as soon as one asks."""
    with Pyfpm(BAD + pool("good", app="torture:app", pm="ondemand"), files=FAILS) as fpm:
        fpm.log.wait_for(BOOT_FAILED)
        assert fetch(fpm.address("good.sock"), "/pid").status == 200
        assert fpm.pool_status("bad")["state"] == "degraded"


def test_a_pool_that_comes_late_is_waited_for_beside_one_that_fails():
    """Whoever is in its way could end the service for it otherwise, together with the other."""
    late = pool("late", app="torture:app", most=1)
    with socket.socket(socket.AF_UNIX) as taken:

        def obstruct(folder):
            taken.bind(str(folder / "late.sock"))
            taken.listen()

        with Pyfpm(BAD + late, files=FAILS, prepare=obstruct) as fpm:
            fpm.log.wait_for(BOOT_FAILED)
            assert "another server answers there" in fpm.pool_status("late")["reason"]
            taken.close()
            wait_until(lambda: fpm.pool_status("late")["state"] == "running", timeout_s=30)
            assert fetch(fpm.address("late.sock"), "/pid").status == 200


def test_service_ends_where_the_ondemand_pool_has_failed_too():
    """Nobody is left: that is an exit code of 1, for whoever starts it."""
    gated = {"gated.py": "open('gate').read()\nraise SystemExit(1)\n"}
    pools = pool("bad", app="gated:app", most=1) + pool("asleep", app="fails:app", pm="ondemand")

    def prepare(folder):
        os.mkfifo(folder / "app" / "gate")
        (folder / "app" / "gate").chmod(0o666)

    with Pyfpm(pools, files={**FAILS, **gated}, prepare=prepare, wait_ready=False) as fpm:
        fpm.log.wait_for(r"ALERT: \[pool asleep\] boot failed")
        (fpm.app / "gate").write_text("")
        assert fpm.process.wait(30) == 1
        fpm.log.wait_for("no pool could start its application")
