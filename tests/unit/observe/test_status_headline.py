"""All pools in one line."""

from dataclasses import replace

from scoreboard_samples import NOTICE, NOW_EPOCH_S, NOW_S, PARKED, RUNNING

from pyfpm.observe import render_headline, summarise


def status(name, *slots, **changes):
    notice = replace(NOTICE, pool=name, **{"state": "running", "reason": "", **changes})
    return summarise(notice, slots, NOW_S, NOW_EPOCH_S)


def test_pools_and_workers_are_counted():
    """Over all pools together, with the right plural."""
    shop, blog = status("shop", RUNNING, PARKED), status("blog", PARKED)
    assert render_headline([shop, blog]) == "2 pools, 3 workers, 2 idle"
    assert render_headline([blog]) == "1 pool, 1 worker, 1 idle"
    assert render_headline([]) == "0 pools, 0 workers, 0 idle"


def test_pools_that_are_not_well_are_named():
    """With the reason where there is one; a remark about a pool that is well is not news."""
    pools = [
        status("shop", RUNNING, reason="workers import the application themselves"),
        status("blog", state="degraded", reason="no database"),
        status("wiki", state="starting"),
    ]
    assert render_headline(pools) == (
        "3 pools, 1 worker, 0 idle; pool blog is degraded: no database; pool wiki is starting"
    )


def test_a_reason_cannot_add_lines():
    """It may come from an application's exception, and a line is a message to systemd."""
    (line,) = render_headline(
        [status("blog", state="degraded", reason="x\nREADY=1" + "y" * 999)]
    ).splitlines()
    assert "x\\nREADY=1" in line
    assert len(line) <= 500
