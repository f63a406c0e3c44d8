"""Too much at once: reloads, signals and rubbish in any order. The last configuration wins."""

import os
import random
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.processes import children_of, title_of
from scenario import LONG, Served, pool, roll, served

STORM = """\
import os
import echo_app

def app(environ, start_response):
    if environ["PATH_INFO"] != "/round":
        return echo_app.app(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["ROUND"].encode()]
"""


def stormed(dice: random.Random, **options: object):
    """Serve a pool whose application tells the round of its configuration."""
    pools = pool("environment = ROUND=0", app="storm", most=4)
    return served(pools, dice, connections=6, rate=400, files={"storm.py": STORM}, **options)


def write_round(world: Served, number: int) -> None:
    """Change the configuration as a careful tool does: never is half of it to be seen."""
    config = world.fpm.config
    fresh = config.with_suffix(".new")
    fresh.write_text(re.sub(r"ROUND=\d+", f"ROUND={number}", config.read_text()))
    fresh.rename(config)


def test_storm_of_reloads_ends_in_the_last_configuration():
    """HUP and `reload`, with status and rubbish in between: all are answered, nothing is lost."""
    dice = roll("test_storm_of_reloads_ends_in_the_last_configuration")
    for _ in range(5 if LONG else 1):
        storm(dice)


def storm(dice: random.Random) -> None:
    with stormed(dice) as world, ThreadPoolExecutor(8) as clients:
        world.load.wait_for(50)
        asked = []
        for number in range(1, 21):
            write_round(world, number)
            act = dice.choice([hang_up, hang_up, reload, ask, talk_rubbish, say_half])
            asked.append(clients.submit(act, world, dice.randbytes(dice.randrange(1, 200))))
            world.load.wait_for(dice.randrange(1, 40))
        write_round(world, 21)
        asked.append(clients.submit(hang_up, world, b""))
        for one in asked:
            one.result(60)
        wait_until(lambda: current_round(world) == 21, timeout_s=30)
        wait_until(lambda: is_settled(world), timeout_s=30)
        assert {current_round(world) for _ in range(20)} == {21}
        result = world.load.stop()
    assert result.failed == 0


def hang_up(world: Served, _: bytes) -> None:
    world.fpm.process.send_signal(signal.SIGHUP)


def reload(world: Served, _: bytes) -> None:
    """Reload, after the one that is under way if need be; ControlError would fail the test."""
    assert world.fpm.control("reload", pools=[])["pools"]


def ask(world: Served, _: bytes) -> None:
    assert world.fpm.pool_status("shop")["idle processes"] >= 0


def talk_rubbish(world: Served, rubbish: bytes) -> None:
    """Say what is no command; whatever the answer, the connection ends."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(30)
        link.connect(str(world.fpm.folder / "control.sock"))
        link.sendall(rubbish + b"\n")
        link.shutdown(socket.SHUT_WR)
        while link.recv(4096):
            pass


def say_half(world: Served, rubbish: bytes) -> None:
    """Begin a command and go away."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(world.fpm.folder / "control.sock"))
        link.sendall(b'{"version": 1, "command": "reload", "argu')


def current_round(world: Served) -> int:
    return int(fetch(world.fpm.address("shop.sock"), "/round").body)


def is_settled(world: Served) -> bool:
    """Tell whether one zygote and no worker of an older generation is left."""
    status = world.fpm.pool_status("shop", full=True)
    titles = [title_of(pid) for pid in children_of(world.fpm.process.pid)]
    zygotes = [title for title in titles if "zygote" in title]
    leaving = [one for one in status["processes"] if one["state"] == "Ending"]
    return status["state"] == "running" and len(zygotes) == 1 and not leaving


def test_signals_in_any_order_leave_a_service_that_serves_and_ends():
    """HUP, USR1, USR2 and CHLD, singly and in bursts; TERM at the end, among others, still ends."""
    dice = roll("test_signals_in_any_order_leave_a_service_that_serves_and_ends")
    for _ in range(10 if LONG else 2):
        rain_signals(dice)


def rain_signals(dice: random.Random) -> None:
    harmless = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD]
    with stormed(dice) as world:
        master = world.fpm.process.pid
        for _ in range(12):
            for number in dice.choices(harmless, k=dice.choice([1, 1, 2, 5, 20])):
                os.kill(master, number)
            world.load.wait_for(dice.randrange(1, 80))
        result = world.load.stop()
        # The end comes in the middle of it all: what is sent after TERM must not undo it.
        for number in dice.choices(harmless, k=5):
            os.kill(master, number)
        world.fpm._remember_family()
        os.kill(master, signal.SIGTERM)
        for number in dice.choices(harmless, k=5):
            os.kill(master, number)
        assert world.fpm.process.wait(40) == 0
    assert result.failed == 0
