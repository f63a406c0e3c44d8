"""What the rest of pyfpm writes log lines with."""

import logging

from pyfpm.logs.levels import Level

_LOGGER = logging.getLogger("pyfpm")


class Log:
    """Writes events of one pool, or of the master where `pool` is empty.

    Every call names an `event`, a stable word for machines, besides the message for people;
    further keyword arguments become the event's own fields in JSON.
    """

    def __init__(self, pool: str = "") -> None:
        self._pool = pool

    def debug(self, event: str, message: str, **fields: object) -> None:
        """What only a developer wants to see."""
        self.write(Level.DEBUG, event, message, **fields)

    def notice(self, event: str, message: str, **fields: object) -> None:
        """What routinely happens."""
        self.write(Level.NOTICE, event, message, **fields)

    def warning(self, event: str, message: str, **fields: object) -> None:
        """What an operator should change something about."""
        self.write(Level.WARNING, event, message, **fields)

    def error(self, event: str, message: str, **fields: object) -> None:
        """What went wrong and was survived."""
        self.write(Level.ERROR, event, message, **fields)

    def alert(self, event: str, message: str, **fields: object) -> None:
        """What keeps a pool or the service from working."""
        self.write(Level.ALERT, event, message, **fields)

    def write(self, level: Level, event: str, message: str, **fields: object) -> None:
        """One event at a level that is only known at run time."""
        pid = fields.get("pid")
        extra = {"pool": self._pool, "event": event, "worker_pid": pid, "fields": fields}
        _LOGGER.log(level, "%s", message, extra=extra)
