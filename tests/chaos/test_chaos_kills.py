"""kill -9 under load: what is lost is what the killed process had in its hands, to the request."""

import os
import random
import signal
import time

import psutil
from harness.fcgi_client import FcgiClient, make_params
from harness.machine import wait_until
from harness.processes import children_of, watching
from in_flight import LARGEST, count_unsent, kill_and_count
from scenario import LONG, Served, pool, roll, served

from pyfpm.fastcgi import encode_request


def test_killed_workers_lose_no_more_than_they_had_in_their_hands(as_root):
    """Twice a second a random worker; each failure is one of its requests, each kill in the log."""
    dice = roll("test_killed_workers_lose_no_more_than_they_had_in_their_hands")
    kills = 60 if LONG else 6
    in_flight = 0
    with served(pool(pm="static", most=4), dice, connections=12, largest=LARGEST) as world:
        for _ in range(kills):
            time.sleep(dice.uniform(0.3, 0.7))
            in_flight += kill_one(world, dice)
        result = world.load.stop()
        unsent = count_unsent(world.nginx.log)
        print(
            f"{kills} kills, {in_flight} requests in flight in the killed, {unsent} not even"
            f" sent, {result.failed} lost"
        )
        wait_until(lambda: world.fpm.pool_status("shop")["idle processes"] == 4)
        logged = world.fpm.log.find(r"child \d+ exited on signal 9")
        assert world.fpm.pool_status("shop")["respawns"]["killed"] == kills
    assert result.failed <= in_flight + unsent
    assert set(result.counts) <= {"ok", "status", "broken"}
    assert result.counts["ok"] > 20 * kills
    assert len(logged) == kills


def kill_one(world: Served, dice: random.Random) -> int:
    """Kill a random worker; return how many requests it had."""
    workers = wait_until(lambda: world.fpm.worker_pids("shop"))
    (nginx,) = children_of(world.nginx.process.pid)
    socket_path = str(world.fpm.folder / "shop.sock")
    return kill_and_count(dice.choice(workers), nginx, socket_path)


def test_killed_zygotes_cost_no_request():
    """Workers serve on without it; a new one comes, and forks those that are needed."""
    dice = roll("test_killed_zygotes_cost_no_request")
    with served(pool(pm="static", most=4), dice, connections=12) as world:
        for _ in range(20 if LONG else 3):
            world.load.connections(dice.randrange(1, 13))
            world.load.wait_for(dice.randrange(100, 400))
            zygote = wait_until(lambda: world.fpm.zygote_pid("shop"))
            with watching(zygote) as ends:
                os.kill(zygote, signal.SIGKILL)
                # A worker that drains loses nothing, and has to be replaced: by nobody for now.
                os.kill(dice.choice(world.fpm.worker_pids("shop")), signal.SIGTERM)
                ends.wait()
            wait_until(lambda: workers_of_the_zygote(world))
        result = world.load.stop()
    assert result.failed == 0


def workers_of_the_zygote(world: Served) -> list[int]:
    """Return the workers that were born after the zygote which is there now."""
    zygote = world.fpm.zygote_pid("shop")
    return [
        pid
        for pid in world.fpm.worker_pids("shop")
        if zygote and psutil.pid_exists(pid) and age_order(pid) > age_order(zygote)
    ]


def age_order(pid: int) -> float:
    """Return when a process was born, by the kernel's clock."""
    return psutil.Process(pid).create_time()


def test_killed_master_leaves_nothing_behind():
    """Idle workers and the zygote go within a second, busy ones when their request has ended."""
    dice = roll("test_killed_master_leaves_nothing_behind")
    for _ in range(8 if LONG else 1):
        kill_master(dice)


def kill_master(dice: random.Random) -> None:
    """Kill a master under load, at a random moment, while two requests take long."""
    main = "process_control_timeout = 3s"
    with served(pool(pm="static", most=4), dice, connections=2, rate=300, main=main) as world:
        fpm = world.fpm
        wait_until(lambda: fpm.pool_status("shop")["idle processes"] >= 3)
        with FcgiClient(fpm.address("shop.sock")) as long, fpm.client("shop.sock") as endless:
            long.send(encode_request(1, make_params("/echo?n=1&ms=1500"), keep_conn=True))
            endless.send(encode_request(1, make_params("/echo?n=2&ms=60000"), keep_conn=True))
            busy = wait_until(lambda: busy_with_long_ones(world))
            world.load.wait_for(20)
            time.sleep(dice.uniform(0, 0.3))
            family = [one.pid for one in psutil.Process(fpm.process.pid).children(recursive=True)]
            with watching(*family) as ends:
                killed_s = time.time()
                fpm.kill()
                # The others have short requests, if any: each sees at its end that it is alone.
                ends.wait(1, [pid for pid in family if pid not in busy])
                assert not ends.ended() & set(busy)
                assert long.response().body == b"GET 1 0 00000000\n"
                ends.wait(3 + 2)
            assert not endless.response().complete
        result = world.load.stop()
    # Nothing before, and then what a service that is gone looks like: never half a response.
    assert all(failure.time_s >= killed_s for failure in result.failures)
    assert set(result.counts) == {"ok", "status"}


def busy_with_long_ones(world: Served) -> list[int]:
    """Return the workers of the two long requests, once both are served."""
    processes = world.fpm.pool_status("shop", full=True)["processes"]
    busy = [
        entry["pid"]
        for entry in processes
        if entry["state"] == "Running"
        and any(what in entry["request uri"] for what in ("ms=1500", "ms=60000"))
    ]
    return busy if len(busy) == 2 else []
