"""What a master leaves to its successor: written, read, and refused where versions differ."""

import json
from dataclasses import asdict, replace

import pytest

from pyfpm.errors import PyfpmError
from pyfpm.master.attributes import Attributes, Limit
from pyfpm.master.identity import Identity
from pyfpm.master.state import (
    STATE_VERSION,
    SavedChannel,
    SavedGeneration,
    SavedHealth,
    SavedLatecomer,
    SavedListener,
    SavedMaster,
    SavedPipe,
    SavedPool,
    SavedProcess,
    SavedWorker,
    SavedZygote,
    SavedZygotes,
    decode_state,
    encode_state,
)
from pyfpm.messages import BOOT_VERSION

PROCESS = SavedProcess(
    pid=70,
    pidfd=20,
    link=21,
    pipes=(SavedPipe("stdout", 22, 1024, "half \xff"), SavedPipe("stderr", 23, 1024, "")),
    boot_ends_s=None,
)
ZYGOTES = SavedZygotes(
    zygote=SavedZygote(PROCESS, 1.5, preloads=True, ready=True, failed=False),
    boot_s=0.25,
    remark="",
    preload=None,
    returned=False,
    stopped=False,
    give_back_s=None,
)
WORKER = SavedWorker(
    process=replace(PROCESS, pid=None, pidfd=None, link=31, pipes=(), boot_ends_s=99.5),
    serial=4,
    slot=3,
    generation=2,
    spawned_s=7.5,
    luck=0.5,
    state="booting",
    was_ready=False,
    zygote_pid=70,
    due="reload",
    replacement=None,
    leaves_for="",
    drain_ends_s=None,
    stacks=32,
)
POOL = SavedPool(
    name="shop",
    slots=1024,
    board=10,
    notice={"ended_requests": 2**40, "pool": "shop"},
    health=SavedHealth("degraded", "it \ud800 failed", True, {"retry_s": float("-inf")}),
    limits={"max_children": 3},
    generations=(
        SavedGeneration(
            number=2,
            options={"pm": "static", "user": None},
            identity=Identity(
                33,
                33,
                (33, 4),
                "www-data",
                "/var/www",
                0o22,
                True,
                Attributes("/srv", -5, 100, (0, 3), (Limit("rlimit_core", -1),)),
            ),
            listeners=(11,),
            channel=12,
            hands_over=True,
            zygotes=ZYGOTES,
            access_log=17,
        ),
    ),
    listeners=(SavedListener(11, "/run/a.sock", "/run/a.sock", (1, 2), "/run/a.sock"),),
    channels=(SavedChannel(12, 13),),
    workers=(WORKER,),
    last_serial=4,
    boot_s=0.0,
    adopted=((40, 12.5), (41, 13.5)),
    climbs={"4": {"request_ns": 7}},
)
MASTER = SavedMaster(
    package_version="0.1.0",
    config_path="/etc/pyfpm/pyfpm.conf",
    allow_root=False,
    daemonize=False,
    main={"pid": None},
    started_s=1.0,
    soft_file_limit=1024,
    reloads=5,
    pools=(POOL,),
    stopped={"idle": {"pm": "static"}},
    deaths={"71": (0, None), "72": (None, 9)},
    control=5,
    call=6,
    kept=(3,),
    late=(SavedLatecomer("late", {"app": "late:app"}, "bind 127.0.0.1:9000: in use"),),
)


def altered(**changes):
    return json.dumps({**asdict(MASTER), **changes}).encode()


def test_state_comes_back_as_it_was() -> None:
    """Tuples, nested data, bytes in half lines, broken Unicode and infinite times included."""
    assert decode_state(encode_state(MASTER)) == MASTER


def test_every_descriptor_in_the_state_is_passed_on() -> None:
    """Whatever field holds one: what is not passed on is closed by the exec."""
    assert MASTER.descriptors == {3, 5, 6, 10, 11, 12, 13, 17, 20, 21, 22, 23, 31, 32, 40, 41}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"version": STATE_VERSION + 1},
            r"its state in version 2, and the installed pyfpm reads 1",
        ),
        ({"boot_version": 999}, r"messages of its workers in version 999"),
    ],
)
def test_state_of_another_version_is_refused(changes, message) -> None:
    """Both versions are named, and what to do."""
    with pytest.raises(PyfpmError, match=message + ".*stop the service"):
        decode_state(altered(**changes))


def test_state_with_workers_of_the_version_before_is_read() -> None:
    """Their slots have fewer words, and the deaths that are kept have no user."""
    saved = decode_state(altered(boot_version=BOOT_VERSION - 1, deaths={"71": [0, None]}))
    assert saved.deaths == {"71": (0, None)}


def test_fields_of_other_versions_are_dropped_or_take_their_default() -> None:
    """What a newer writer adds is ignored, and what an older one lacks has a default."""
    values = asdict(MASTER)
    del values["kept"], values["late"]
    assert decode_state(json.dumps({**values, "later": 1}).encode()) == replace(
        MASTER, kept=(), late=()
    )


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version": 1}', altered(pools=None)])
def test_broken_state_is_refused(data) -> None:
    """No half of a state is ever used."""
    with pytest.raises(PyfpmError, match="not understood"):
        decode_state(data)
