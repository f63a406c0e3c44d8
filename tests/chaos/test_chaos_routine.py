"""What operators do every day, all of it under load: no request is lost."""

import random

from scenario import LONG, Served, pool, roll, served

# How often each happens; the order is the dice's.
OPERATIONS = (
    {"reload": 10, "upgrade": 3, "restart": 3, "reopen-logs": 5, "scale": 8, "load": 8}
    if LONG
    else {"reload": 2, "upgrade": 1, "restart": 1, "reopen-logs": 2, "scale": 2, "load": 2}
)
REQUESTS = 120_000 if LONG else 6_000
CONNECTIONS = 16


def test_routine_operations_under_load_lose_no_request():
    """Reload, upgrade, restart, new log files, scaling; each worker replaced after 100 requests."""
    dice = roll("test_routine_operations_under_load_lose_no_request")
    plan = [name for name, times in OPERATIONS.items() for _ in range(times)]
    dice.shuffle(plan)
    print("plan:", *plan)
    pools = pool("pm.max_requests = 100", "pm.start_servers = 2", most=6)
    with served(pools, dice, connections=CONNECTIONS, rate=1500 if LONG else 0) as world:
        master = world.fpm.process.pid
        for name in plan:
            perform(name, world, dice)
            # Sometimes the next one comes at once, sometimes the dust has settled.
            world.load.wait_for(dice.randrange(2 * REQUESTS // len(plan)), timeout_s=120)
        world.load.connections(CONNECTIONS)
        world.load.wait_for(max(0, REQUESTS - world.load.done()), timeout_s=120)
        result = world.load.stop()
        # The counters went on through all of it.
        status = world.fpm.wait_accepted("shop", result.requests)
        assert world.fpm.control("status")["pyfpm"]["pid"] == master
        assert not world.fpm.log.find(r"ALERT|ERROR|exited on signal|boot failed")
    assert result.failed == 0
    assert result.requests >= REQUESTS
    assert status["recycles"]["max_requests"] > 0


def perform(name: str, world: Served, dice: random.Random) -> None:
    """Do one of the operations to its end; each must report success."""
    match name:
        case "load":
            world.load.connections(dice.choice([1, 4, 8, CONNECTIONS]))
            return
        case "scale":
            arguments = ["scale", "shop", dice.randrange(2, 9)]
        case "restart":
            arguments = ["restart", "shop"]
        case _:
            arguments = [name]
    done = world.fpm.command(*arguments)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
