"""The command of the new code keeps the interpreter's options, and nothing of the program's."""

import os
import sys

import pytest

import pyfpm
from pyfpm.master.successor import Step, interpreter_options, successor_command


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("python -m pyfpm -c a.conf start", ""),
        ("python /venv/bin/pyfpm -c a.conf start -R", ""),
        ("python -E -s /venv/bin/pyfpm start", "-E -s"),
        ("python -X dev -W error -Xutf8 -m pyfpm start -X", "-X dev -W error -Xutf8"),
        ("python -IBmpyfpm start", "-IB"),
        ("python -bb -OO -c pass -E", "-bb -OO"),
        ("python --check-hash-based-pycs always -m pyfpm", "--check-hash-based-pycs always"),
        ("python -BX dev -m pyfpm", "-BX dev"),
        ("python", ""),
        ("python - start", ""),
    ],
)
def test_options_before_the_program_are_the_interpreters(command, options) -> None:
    """What follows -m, -c or the script belongs to pyfpm, whatever it looks like."""
    assert interpreter_options(command.split()) == options.split()


def test_command_names_interpreter_package_step_and_descriptor() -> None:
    """All that the new code needs stands in its command; the current folder is not searched."""
    command = successor_command(Step.RESUME, 17)
    assert command[0] == sys.executable
    assert "-P" in command
    assert command[-3:] == [os.path.dirname(os.path.dirname(pyfpm.__file__)), "resume", "17"]
