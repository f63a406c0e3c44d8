import json

import pytest

from pyfpm.cli.status_document import read_pools
from pyfpm.errors import ControlError
from pyfpm.observe import PoolStatus, ProcessStatus, status_to_dict

PROCESS = ProcessStatus(
    pid=101,
    state="Running",
    letter="",
    start_epoch_s=1_000,
    start_since_s=20,
    requests=3,
    duration_us=1_500,
    method="GET",
    uri="/a?b",
    content_length=0,
    user="",
    script="/a",
    last_cpu_percent=1.5,
    last_memory_bytes=4096,
    generation=2,
    requests_5xx=1,
    parked=4,
    handed_off=5,
)
POOL = PoolStatus(
    pool="shop",
    process_manager="dynamic",
    start_epoch_s=900,
    start_since_s=120,
    accepted=33,
    listen_queue=1,
    max_listen_queue=2,
    listen_queue_length=128,
    idle=3,
    active=1,
    max_active=4,
    max_children=8,
    max_children_reached=6,
    slow_requests=7,
    parked=9,
    generation=2,
    reloads=1,
    requests_5xx=11,
    handed_off=12,
    boot_s=0.25,
    state="degraded",
    reason="no such module",
    recycles={"max_requests": 1},
    respawns={"crash": 2},
    processes=(PROCESS,),
)


def test_status_that_went_through_json_is_the_same():
    """What the master rendered is what the table shows, field by field."""
    document = json.loads(json.dumps({"pools": {"shop": status_to_dict(POOL, full=True)}}))
    assert read_pools(document) == [POOL]


def test_status_without_processes_has_none():
    """Without --full there is no list of workers, and a healthy pool has no reason."""
    document = {"pools": {"shop": status_to_dict(POOL)}}
    del document["pools"]["shop"]["reason"]
    (pool,) = read_pools(document)
    assert pool.processes == ()
    assert pool.reason == ""


@pytest.mark.parametrize("document", [{}, {"pools": {"shop": {}}}, {"pools": []}])
def test_status_of_another_shape_is_an_error(document):
    """A master of another version is an error message, not a traceback."""
    with pytest.raises(ControlError, match="another version"):
        read_pools(document)
