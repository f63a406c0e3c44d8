"""Copies of notices and slots for the tests of status pages."""

from dataclasses import replace

from pyfpm.scoreboard import NoticeCopy, SlotCopy, Stage

NOW_S = 5000.0
NOW_EPOCH_S = 1_795_255_200.5  # 21 Nov 2026, 10:00:00 UTC

NOTICE = NoticeCopy(
    start_epoch_s=1_795_255_100,
    slots_in_use=4,
    generation=3,
    reloads=2,
    max_children=20,
    listen_queue=1,
    max_listen_queue=7,
    listen_queue_length=511,
    max_active=4,
    max_children_reached=1,
    slow_requests=0,
    adopted=2,
    boot_ns=214_000_000,
    ended_requests=1000,
    terminated_requests=6,
    ended_requests_5xx=4,
    ended_protocol_errors=4,
    ended_bad_requests=3,
    ended_timeouts=9,
    ended_handed_off=30,
    ended_refused=6,
    recycles_max_requests=3,
    recycles_idle=2,
    respawns_crash=1,
    pool="shop",
    process_manager="dynamic",
    state="running",
)
"""A pool that has been through two reloads and a crash."""

EMPTY_SLOT = SlotCopy(
    pid=0,
    serial=0,
    generation=0,
    stage=Stage.FREE,
    stage_since_s=0.0,
    started_s=0.0,
    started_epoch_s=0,
    requests=0,
    request_started_s=0.0,
    last_duration_s=0.0,
    last_cpu_s=0.0,
    last_memory_bytes=0,
    content_length=0,
    requests_5xx=0,
    parked=0,
    pending=0,
    handed_off=0,
    refused=0,
    connections=0,
    protocol_errors=0,
    bad_requests=0,
    too_large=0,
    timeouts=0,
    boot_s=0.0,
    extended_request_s=0.0,
    extended_until_s=0.0,
    method="",
    uri="",
    script="",
    user="",
)

RUNNING = replace(
    EMPTY_SLOT,
    pid=31330,
    serial=1,
    generation=3,
    stage=Stage.RUNNING,
    started_epoch_s=1_795_255_140,
    requests=11,
    request_started_s=NOW_S - 0.25,
    last_duration_s=0.9,
    last_cpu_s=0.3,
    last_memory_bytes=50_000_000,
    content_length=12,
    requests_5xx=1,
    method="POST",
    uri="/cart?item=5",
    user="ann",
    script="/srv/shop/app.py",
)

PARKED = replace(
    EMPTY_SLOT,
    pid=31331,
    serial=2,
    generation=3,
    stage=Stage.IDLE,
    stage_since_s=NOW_S - 3,
    started_epoch_s=1_795_255_141,
    requests=5,
    request_started_s=NOW_S - 4,
    last_duration_s=0.02,
    last_cpu_s=0.015,
    last_memory_bytes=48_000_000,
    parked=6,
    handed_off=8,
    refused=1,
    method="GET",
    uri="/",
)

BOOTING = replace(
    EMPTY_SLOT,
    pid=31332,
    serial=3,
    generation=3,
    stage=Stage.BOOTING,
    started_epoch_s=1_795_255_199,
)
