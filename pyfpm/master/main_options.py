"""What a running master makes of `[pyfpm]`, and what it cannot change any more."""

from pyfpm.config import MAIN, LogFormat, MainOptions, Reload
from pyfpm.logs import Level, LogSettings


def log_settings(main: MainOptions) -> LogSettings:
    """How `[pyfpm]` wants the error log."""
    return LogSettings(
        target=main.error_log,
        level=Level.named(main.log_level.value),
        json=main.log_format is LogFormat.JSON,
        limit=main.log_limit,
    )


def access_of(main: MainOptions) -> tuple[str | None, str | None, int]:
    """Who may connect to the control socket."""
    return main.control_owner, main.control_group, main.control_mode


def needing_a_start(in_force: MainOptions, wanted: MainOptions) -> list[str]:
    """A line for each option that a reload cannot change; `in_force` is as the master started."""
    return [
        f"[pyfpm] {option.name}: changed, and takes effect when the master is started anew"
        for field, option in MAIN.by_field.items()
        if option.reload is Reload.RESTART and getattr(in_force, field) != getattr(wanted, field)
    ]
