"""The exceptions of pyfpm: one small tree.

Inner code raises; one boundary per process turns an exception into a log line and an exit code.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class PyfpmError(Exception):
    """Everything that pyfpm raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration, and where.

    `line` counts from 1; it is None where the file as a whole is meant (a file that cannot be
    read). `section` and `key` are as the operator wrote them, empty where they do not apply.
    """

    file: str
    line: int | None
    section: str
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        section = f"[{self.section}]" if self.section else ""
        name = f"{section} {self.key}".strip()
        return ": ".join(part for part in (place, name, self.message) if part)


class ConfigError(PyfpmError):
    """A configuration that cannot be used; `problems` holds every problem found, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def reason_of(error: OSError) -> str:
    """What the system says of an error, as the end of one of our sentences."""
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]


class ProtocolError(PyfpmError):
    """The peer broke FastCGI and its byte stream is unusable: close the connection."""


class BadRequest(PyfpmError):  # noqa: N818 - the name HTTP gives it
    """A well-framed request that must not reach the application.

    `status` is the HTTP status for the client (400, 413, 431, 503, …), `headers` go with it, the
    message is for the log.
    """

    def __init__(
        self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.status = status
        self.headers = headers
        super().__init__(message)


class ResponseError(PyfpmError):
    """The application broke the rules of WSGI or CGI for its response."""


class SpawnError(PyfpmError):
    """A listener, zygote or worker could not be made."""


class ControlError(PyfpmError):
    """A control command failed; `exit_code` is what the command line ends with."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__(message)
