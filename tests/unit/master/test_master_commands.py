"""What the control socket offers, and to whom."""

from pyfpm.master.commands import make_commands


class NoMaster:
    """Enough of a master to ask for its commands."""


def test_only_reading_commands_are_open_to_everyone_whom_the_socket_admits():
    """Whatever changes something is for root and the master's own user."""
    commands = make_commands(NoMaster())
    assert {name for name, command in commands.items() if not command.changes} == {
        "status",
        "trace",
    }
    assert set(commands) == {
        *("status", "trace", "reload", "restart", "stop", "start-pool", "scale"),
        *("reopen-logs", "upgrade"),
    }
