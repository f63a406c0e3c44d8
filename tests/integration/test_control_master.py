"""The control socket of a real master: wrong arguments, and clients that mean no good."""

import json
import time
from contextlib import ExitStack

import pytest
from harness.control import RawClient
from harness.master import Pyfpm

from pyfpm.errors import ControlError

POOLS = """\
[pool:shop]
app = torture:app
listen = unix:shop.sock
pm = static
pm.max_children = 1

[pool:blog]
app = torture:app
listen = unix:blog.sock
pm = static
pm.max_children = 1
"""


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS) as running:
        yield running


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("status", {"pool": 7}),
        ("status", {"full": "yes"}),
        ("status", {"format": "yaml"}),
        ("status", {"pol": "shop"}),
        ("trace", {}),
        ("trace", {"pool": "shop", "pid": "1"}),
        ("trace", {"pool": "shop", "pid": -1}),
        ("reload", {"pools": "shop"}),
        ("reload", {"pools": ["shop", "shop"]}),
        ("reload", {"pool": "shop"}),
        ("restart", {}),
        ("restart", {"pool": ["shop"]}),
        ("stop", {"now": 1}),
        ("stop", {"pool": "shop"}),
        ("stop", {"pools": ["shop", "shop"]}),
        ("start-pool", {}),
        ("start-pool", {"pools": []}),
        ("scale", {"pool": "shop"}),
        ("scale", {"pool": "shop", "workers": 0}),
        ("scale", {"pool": "shop", "workers": 2.5}),
        ("scale", {"pool": "shop", "workers": True}),
        ("reopen-logs", {"force": True}),
        ("upgrade", {"now": True}),
        ("unheard-of", {}),
    ],
)
def test_wrong_arguments_are_exit_code_64_and_change_nothing(fpm, command, arguments):
    """What is not understood is refused before anything is done."""
    before = fpm.worker_pids("shop")
    with pytest.raises(ControlError) as caught:
        fpm.control(command, **arguments)
    assert caught.value.exit_code == 64
    assert fpm.worker_pids("shop") == before


@pytest.mark.parametrize(
    "typed",
    [
        ["status", "shopp"],
        ["trace", "shopp"],
        ["restart", "shopp"],
        ["stop", "blog", "shopp"],
        ["stop", "shopp", "--now"],
        ["start-pool", "shopp"],
        ["scale", "shopp", "3"],
    ],
)
def test_unknown_pool_is_wrong_usage_with_the_pools_that_there_are(fpm, typed):
    """A misspelt pool changes nothing, not even a rightly spelt one beside it."""
    done = fpm.command(*typed)
    assert done.returncode == 64
    assert done.stderr == (
        f"pyfpm: {typed[0]}: no pool 'shopp'; there are: shop, blog; did you mean shop?\n"
    )
    assert fpm.pool_status("blog")["total processes"] == 1


def test_hostile_clients_do_not_delay_others(fpm):
    """Silent, talking rubbish, asking without reading, a hundred of them: status in a second."""
    path = fpm.folder / "control.sock"
    with ExitStack() as held:
        for number in range(100):
            client = held.enter_context(RawClient(path))
            match number % 4:
                case 1:
                    client.sock.sendall(b"\x00rubbish\n" * 100)
                case 2:
                    client.sock.sendall(b'{"version": 1, "comm')
                case 3:
                    client.send("status", full=True)
        for _ in range(5):
            started_s = time.monotonic()
            assert set(fpm.control("status")["pools"]) == {"shop", "blog"}
            assert time.monotonic() - started_s < 1
        with fpm.client("shop.sock") as visitor:
            assert visitor.request("/").status == 200


def test_rubbish_gets_one_clear_answer(fpm):
    """A line that is no request is answered with exit code 64, then the connection ends."""
    with RawClient(fpm.folder / "control.sock") as client:
        client.sock.sendall(b"HELO master\n")
        answer = client.read()
        assert answer["exit_code"] == 64, json.dumps(answer)
        assert client.read() is None
