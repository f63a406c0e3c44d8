"""The pages, byte for byte."""

import json
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from scoreboard_samples import BOOTING, NOTICE, NOW_EPOCH_S, NOW_S, PARKED, RUNNING

from pyfpm.observe import (
    answer_ping,
    answer_status,
    render_json,
    render_text,
    status_to_dict,
    summarise,
)

STATUS = summarise(NOTICE, (RUNNING, PARKED, BOOTING), NOW_S, NOW_EPOCH_S)

POOL_TEXT = """\
pool:                 shop
process manager:      dynamic
start time:           21/Nov/2026:09:58:20 +0000
start since:          100
accepted conn:        1016
listen queue:         1
max listen queue:     7
listen queue len:     511
idle processes:       1
active processes:     1
total processes:      2
max active processes: 4
max children reached: 1
slow requests:        0
max children:         20
parked connections:   8
generation:           3
reloads:              2
requests 5xx:         5
terminated requests:  6
handed off connections: 38
refused connections:  7
boot duration:        0.214
state:                running
refusals:             4 protocol_error, 3 bad_request, 9 timeout
recycles:             3 max_requests, 2 idle
respawns:             1 crash
"""

RUNNING_TEXT = """\

************************
pid:                  31330
state:                Running
start time:           21/Nov/2026:09:59:00 +0000
start since:          60
requests:             11
request duration:     250000
request method:       POST
request URI:          /cart?item=5
content length:       12
user:                 ann
script:               /srv/shop/app.py
last request cpu:     0.00
last request memory:  0
generation:           3
requests 5xx:         1
parked connections:   0
handed off connections: 0
"""

PARKED_TEXT = """\

************************
pid:                  31331
state:                Idle
start time:           21/Nov/2026:09:59:01 +0000
start since:          59
requests:             5
request duration:     20000
request method:       GET
request URI:          /
content length:       0
user:                 -
script:               -
last request cpu:     75.00
last request memory:  48000000
generation:           3
requests 5xx:         0
parked connections:   6
handed off connections: 8
"""

BOOTING_TEXT = """\

************************
pid:                  31332
state:                Starting
start time:           21/Nov/2026:09:59:59 +0000
start since:          1
requests:             0
request duration:     0
request method:       -
request URI:          -
content length:       0
user:                 -
script:               -
last request cpu:     0.00
last request memory:  0
generation:           3
requests 5xx:         0
parked connections:   0
handed off connections: 0
"""

PHP_FPM_POOL_NAMES = [
    "pool",
    "process manager",
    "start time",
    "start since",
    "accepted conn",
    "listen queue",
    "max listen queue",
    "listen queue len",
    "idle processes",
    "active processes",
    "total processes",
    "max active processes",
    "max children reached",
    "slow requests",
]
PHP_FPM_PROCESS_NAMES = [
    "pid",
    "state",
    "start time",
    "start since",
    "requests",
    "request duration",
    "request method",
    "request uri",
    "content length",
    "user",
    "script",
    "last request cpu",
    "last request memory",
]


def test_text_page_is_php_fpms_and_then_ours():
    """The short text page, as an operator and PHP-FPM's exporters read it."""
    assert render_text(STATUS) == POOL_TEXT


def test_full_text_page_adds_a_block_for_each_worker():
    """`full` adds one block a worker, booting ones too."""
    expected = POOL_TEXT + RUNNING_TEXT + PARKED_TEXT + BOOTING_TEXT
    assert render_text(STATUS, full=True) == expected


def test_text_page_in_another_zone_shows_its_time():
    """Times carry the offset of the zone that they are shown in."""
    page = render_text(STATUS, zone=timezone(timedelta(hours=-3, minutes=-30)))
    assert "start time:           21/Nov/2026:06:28:20 -0330\n" in page


def test_json_names_begin_with_php_fpms_in_its_order():
    """Exporters find PHP-FPM's names, in a document that begins as PHP-FPM's does."""
    document = json.loads(render_json(STATUS, full=True))
    assert list(document)[: len(PHP_FPM_POOL_NAMES)] == PHP_FPM_POOL_NAMES
    assert list(document)[-1] == "processes"
    for process in document["processes"]:
        assert list(process)[: len(PHP_FPM_PROCESS_NAMES)] == PHP_FPM_PROCESS_NAMES


def test_json_times_are_epoch_seconds():
    """JSON says when in seconds since the epoch, as PHP-FPM's does."""
    document = json.loads(render_json(STATUS, full=True))
    assert document["start time"] == 1_795_255_100
    assert document["processes"][0]["start time"] == 1_795_255_140


def test_json_without_full_has_no_processes():
    """The short document is about the pool alone."""
    assert "processes" not in status_to_dict(STATUS)


def test_json_own_names_follow():
    """Pyfpm's own fields, by name and value."""
    own = dict(list(status_to_dict(STATUS).items())[len(PHP_FPM_POOL_NAMES) :])
    assert own == {
        "max children": 20,
        "parked connections": 8,
        "generation": 3,
        "reloads": 2,
        "requests 5xx": 5,
        "terminated requests": 6,
        "handed off connections": 38,
        "refused connections": 7,
        "boot duration": 0.214,
        "state": "running",
        "refusals": {"protocol_error": 4, "bad_request": 3, "too_large": 0, "timeout": 9},
        "recycles": {
            "max_requests": 3,
            "max_lifetime": 0,
            "max_memory": 0,
            "idle": 2,
            "reload": 0,
            "timeout": 0,
        },
        "respawns": {"crash": 1, "exit": 0, "hung": 0, "killed": 0},
    }


def test_reason_is_shown_where_there_is_one():
    """A pool that does not simply run says why, on one line."""
    status = replace(STATUS, state="degraded", reason="boot failed:\nImportError")
    assert status_to_dict(status)["reason"] == "boot failed:\nImportError"
    assert "reason:               boot failed:\\nImportError\n" in render_text(status)


def test_client_text_with_control_characters_is_escaped_in_text():
    """A request line cannot forge a line of the page or talk to the terminal."""
    slot = replace(RUNNING, uri="/a\r\npid: 1\x1b[2J", user="\u00c2\u009b1m")
    page = render_text(summarise(NOTICE, (slot,), NOW_S, NOW_EPOCH_S), full=True)
    assert "request URI:          /a\\r\\npid: 1\\x1b[2J\n" in page
    assert "user:                 \\x9b1m\n" in page


# pages


def summary():
    return STATUS


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", render_text(STATUS)),
        ("full", render_text(STATUS, full=True)),
        ("json", render_json(STATUS)),
        ("json&full", render_json(STATUS, full=True)),
        ("full=1&json=", render_json(STATUS, full=True)),
        ("fuller&jsonp", render_text(STATUS)),
    ],
)
def test_status_page_query_chooses_format_and_extent(query, expected):
    """The presence of `json` and `full` in the query string decides."""
    page = answer_status(query, summary)
    assert page.status == "200 OK"
    assert page.body.decode() == expected


@pytest.mark.parametrize("query", ["xml", "html&full", "openmetrics"])
def test_status_page_in_a_format_not_built_is_refused(query):
    """An unbuilt format is a clear 501, never some other format."""
    page = answer_status(query, summary)
    assert page.status == "501 Not Implemented"
    assert page.body.decode() == f"{query.partition('&')[0]}: not supported yet\n"


@pytest.mark.parametrize(
    ("page", "content_type"),
    [
        (answer_status("", summary), "text/plain; charset=utf-8"),
        (answer_status("json", summary), "application/json"),
        (answer_ping("pong"), "text/plain; charset=utf-8"),
    ],
)
def test_every_page_forbids_caching(page, content_type):
    """PHP-FPM's two header fields against caches, and the type."""
    assert dict(page.headers) == {
        "Content-Type": content_type,
        "Expires": "Thu, 01 Jan 1970 00:00:00 GMT",
        "Cache-Control": "no-cache, no-store, must-revalidate, max-age=0",
    }


def test_ping_answers_its_response_alone():
    """ping.response, without even a newline, as health checks compare it."""
    assert answer_ping("pong").body == b"pong"


@pytest.mark.parametrize(
    "page", [answer_status("", summary, method="HEAD"), answer_ping("pong", method="HEAD")]
)
def test_head_has_no_body(page):
    """HEAD answers header fields only."""
    assert page.body == b""
    assert page.status == "200 OK"
