"""`pyfpm status` as a table: in a terminal of any width, and where there is none."""

import json
from dataclasses import replace

import pytest
from scoreboard_samples import NOTICE, NOW_EPOCH_S, NOW_S, PARKED, RUNNING

from pyfpm.observe import render_table, status_to_dict, summarise

STATUS = summarise(NOTICE, (RUNNING, PARKED), NOW_S, NOW_EPOCH_S)
LONG_NAME = "tenant-of-a-customer.example.org_production_and_more"
REASON = (
    "/etc/pyfpm/pools.d/shop.conf:3: app = shop.wsgi:app: import failed: RuntimeError: no answer"
    " from postgres://db.internal:5432/shop within 30 s; see https://wiki.internal/runbooks/db"
)


def table(*statuses, **options):
    """The table of what a client reads from the master."""
    documents = [status_to_dict(status, full=True) for status in statuses]
    return render_table(json.loads(json.dumps(documents)), **options)


def test_table_has_a_row_for_each_pool():
    """Names to the left, numbers to the right."""
    blog = replace(STATUS, pool="blog", process_manager="ondemand", accepted=7, idle=0, active=0)
    assert (
        table(STATUS, blog)
        == """\
POOL  PM        STATE    IDLE  ACTIVE  TOTAL  MAX  QUEUE  REQUESTS  5XX  PARKED  GEN
shop  dynamic   running     1       1      2   20      1      1016    5       8    3
blog  ondemand  running     0       0      0   20      1         7    5       8    3
"""
    )


@pytest.mark.parametrize("width", [None, 200, 120, 80, 40, 10])
def test_reason_of_a_pool_in_trouble_is_whole_at_every_width(width):
    """It is broken at blanks where the terminal ends, and never cut."""
    lines = table(replace(STATUS, state="degraded", reason=REASON), width=width).splitlines()
    text = lines[lines.index("") + 1 :]
    assert " ".join(line.strip() for line in text) == f"shop: degraded: {REASON}"
    assert all(line.startswith("    ") for line in text[1:])
    if width is None:
        assert len(text) == 1
    elif width >= 80:
        assert max(map(len, text)) <= width


def test_control_characters_in_a_reason_are_shown_not_sent():
    """The application wrote it."""
    text = table(replace(STATUS, reason="a\x1b[2Jb\nc\u202ed"), width=80)
    assert r"shop: running: a\x1b[2Jb\nc\u202ed" in text


def test_endless_reason_is_cut_with_dots():
    """An application can say a megabyte; a terminal that scrolls for a minute helps nobody."""
    text = table(replace(STATUS, reason="x" * 1_000_000))
    assert len(text) < 5000
    assert text.endswith("xxx...\n")


@pytest.mark.parametrize(
    ("width", "head"),
    [
        (84, "POOL  PM       STATE    IDLE  ACTIVE  TOTAL  MAX  QUEUE  REQUESTS  5XX  PARKED  GEN"),
        (72, "POOL PM      STATE   IDLE ACTIVE TOTAL MAX QUEUE REQUESTS 5XX PARKED GEN"),
        (70, "POOL PM      STATE   IDLE ACTIVE TOTAL MAX QUEUE REQUESTS 5XX PARKED"),
        (61, "POOL PM      STATE   IDLE ACTIVE TOTAL MAX QUEUE REQUESTS 5XX"),
        (60, "POOL STATE   IDLE ACTIVE TOTAL MAX QUEUE REQUESTS 5XX"),
        (47, "POOL STATE   IDLE ACTIVE MAX QUEUE REQUESTS 5XX"),
        (20, "POOL STATE   IDLE ACTIVE MAX QUEUE REQUESTS 5XX"),
    ],
)
def test_narrow_terminal_goes_without_what_matters_least(width, head):
    """First without blanks, then without columns; the state and the queue always stay."""
    first, row = table(STATUS, width=width).splitlines()
    assert first == head
    assert row.startswith("shop")
    assert len(row) == len(head)


def test_long_name_of_a_pool_gets_a_line_of_its_own():
    """As in df: the columns stay in the terminal, and the name is whole."""
    long = replace(STATUS, pool=LONG_NAME)
    assert (
        table(STATUS, long, full=True, width=80)
        == f"""\
POOL PM      STATE   IDLE ACTIVE TOTAL MAX QUEUE REQUESTS 5XX PARKED GEN
shop dynamic running    1      1     2  20     1     1016   5      8   3
{LONG_NAME}
     dynamic running    1      1     2  20     1     1016   5      8   3

POOL    PID  STATE    REQUESTS  SECONDS  PARKED  GEN  REQUEST
shop  31330  Running        11    0.250       0    3  POST /cart?item=5
shop  31331  Idle            5    0.020       6    3  GET /
{LONG_NAME}
      31330  Running        11    0.250       0    3  POST /cart?item=5
      31331  Idle            5    0.020       6    3  GET /
"""
    )
    assert table(long, width=200).splitlines()[1].startswith(f"{LONG_NAME}  dynamic")


def test_full_table_lists_the_workers_and_cuts_requests_at_the_width():
    """No line is longer than the terminal, and a cut is seen; where there is no terminal, none."""
    slot = replace(RUNNING, uri="/" + "x" * 300)
    status = summarise(NOTICE, (slot, PARKED), NOW_S, NOW_EPOCH_S)
    lines = table(status, full=True, width=80).splitlines()
    assert len(lines[4]) == 80
    assert lines[3] == "POOL    PID  STATE    REQUESTS  SECONDS  PARKED  GEN  REQUEST"
    assert lines[4].startswith("shop  31330  Running        11    0.250       0    3  POST /xxx")
    assert lines[4].endswith("xxx...")
    assert lines[5] == "shop  31331  Idle            5    0.020       6    3  GET /"
    assert table(status, full=True).splitlines()[4].endswith("x" * 300)


@pytest.mark.parametrize("width", [None, 120, 10])
def test_table_without_pools_is_its_head(width):
    """No pool is no error."""
    assert table(full=True, width=width).startswith("POOL ")
