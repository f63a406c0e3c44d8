"""Stages and the letters that stand for them on status pages."""

import pytest

from pyfpm.scoreboard import Stage
from pyfpm.scoreboard.stage import stage_of

LETTERS = {
    "FREE": ".",
    "BOOTING": "S",
    "IDLE": "_",
    "READING": "R",
    "RUNNING": "W",
    "FINISHING": "L",
    "DRAINING": "G",
}


def test_letters_are_those_that_users_were_promised():
    """Dashboards read these letters."""
    assert {stage.name: stage.value for stage in Stage} == LETTERS


@pytest.mark.parametrize("stage", Stage)
def test_code_of_a_stage_reads_back_as_it(stage):
    """The byte in a slot and the stage are inverse."""
    assert stage_of(stage.code) is stage


def test_byte_without_meaning_is_a_free_slot():
    """A hostile byte is nobody, not an exception."""
    meaningful = {stage.code for stage in Stage}
    assert {stage_of(code) for code in range(256) if code not in meaningful} == {Stage.FREE}


def test_active_stages_are_those_that_hold_a_request():
    """The total is idle and active: a booting worker is neither, an ending one is active."""
    active = {stage.name for stage in Stage if stage.is_active}
    assert active == {"READING", "RUNNING", "FINISHING", "DRAINING"}
