"""static, dynamic and ondemand, seen from outside: how many workers there are, and when."""

import threading
import time

from harness.fcgi_client import FcgiClient, fetch
from harness.machine import wait_until
from harness.master import Pyfpm


def pool_text(pm: str, *lines: str) -> str:
    more = "\n".join(lines)
    return f"[pool:one]\napp = torture:app\nlisten = %(here)s/one.sock\npm = {pm}\n{more}\n"


def load(address: str, clients: int, seconds: float, uri: str = "/sleep?s=0.05") -> list[int]:
    """Send requests from several clients at once; return the statuses."""
    statuses: list[int] = []
    until = time.monotonic() + seconds

    def run() -> None:
        while time.monotonic() < until:
            statuses.append(fetch(address, uri).status)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_a_static_pool_has_its_number_of_workers_always():
    """Idle, busy, and after a worker was lost."""
    with Pyfpm(pool_text("static", "pm.max_children = 3")) as fpm:
        address = fpm.address("one.sock")
        wait_until(lambda: fpm.status("one")["total processes"] == 3)
        assert set(load(address, 6, 1)) == {200}
        assert fpm.status("one")["total processes"] == 3
        fetch(address, "/kill?sig=KILL")
        wait_until(lambda: fpm.status("one")["total processes"] == 3)
        assert len(set(fpm.worker_pids("one"))) == 3


def test_a_dynamic_pool_grows_with_the_load_and_never_beyond_its_limit():
    """From its spare workers to pm.max_children when it is saturated, and back when it is not."""
    text = pool_text(
        "dynamic",
        "pm.max_children = 5",
        "pm.start_servers = 1",
        "pm.min_spare_servers = 1",
        "pm.max_spare_servers = 2",
    )
    with Pyfpm(text) as fpm:
        address = fpm.address("one.sock")
        assert fpm.status("one")["total processes"] in (1, 2)
        assert set(load(address, 10, 2)) == {200}
        status = fpm.status("one")
        assert status["max active processes"] == 5
        assert status["max children reached"] >= 1
        wait_until(lambda: fpm.status("one")["total processes"] <= 2, timeout_s=20)
        assert fetch(address).status == 200


def test_a_saturated_pool_grows_at_once():
    """The second request does not wait for the first, which takes seconds."""
    with Pyfpm(
        pool_text(
            "dynamic",
            "pm.max_children = 4",
            "pm.start_servers = 1",
            "pm.min_spare_servers = 1",
            "pm.max_spare_servers = 1",
        )
    ) as fpm:
        address = fpm.address("one.sock")
        with FcgiClient(address) as slow:
            threading.Thread(target=slow.request, args=("/sleep?s=3",)).start()
            wait_until(lambda: fpm.status("one")["active processes"] == 1)
            started = time.monotonic()
            assert fetch(address).status == 200
            assert fetch(address).status == 200
            assert time.monotonic() - started < 2
            wait_until(lambda: fpm.status("one")["active processes"] == 0)


def test_an_ondemand_pool_goes_to_zero_and_comes_back():
    """No worker while nobody asks; each request after a pause is served all the same."""
    lines = ("pm.max_children = 2", "pm.process_idle_timeout = 500ms")
    with Pyfpm(pool_text("ondemand", *lines)) as fpm:
        address = fpm.address("one.sock")
        assert fpm.status("one")["total processes"] == 0
        pids = set()
        for _ in range(2):
            pids.add(fetch(address, "/pid").body)
            wait_until(lambda: fpm.status("one")["total processes"] == 0, timeout_s=10)
        assert len(pids) == 2


def test_process_max_bounds_all_pools_together():
    """Two pools that want four workers each, and room for five."""
    text = "".join(
        f"[pool:{name}]\napp = torture:app\nlisten = %(here)s/{name}.sock\npm = ondemand\n"
        "pm.max_children = 4\n"
        for name in ("one", "two")
    )
    with Pyfpm(text, main="process.max = 5") as fpm:
        most = 0
        done = threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.1):
                pools = fpm.control("status")["pools"].values()
                most = max(most, sum(pool["total processes"] for pool in pools))

        watcher = threading.Thread(target=watch)
        watcher.start()
        loads = [
            threading.Thread(target=load, args=(fpm.address(f"{name}.sock"), 6, 2))
            for name in ("one", "two")
        ]
        for thread in loads:
            thread.start()
        for thread in loads:
            thread.join()
        done.set()
        watcher.join()
        assert 3 <= most <= 5
        assert fetch(fpm.address("one.sock")).status == 200
        assert fetch(fpm.address("two.sock")).status == 200
