"""The machine's time zone."""

from datetime import UTC, datetime, tzinfo


def local_zone() -> tzinfo:
    """The zone that is in force now, summer time included."""
    return datetime.now(UTC).astimezone().tzinfo or UTC
