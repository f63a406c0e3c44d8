"""What comes of looking at a configuration."""

from dataclasses import dataclass, field

from pyfpm.errors import Problem


@dataclass(slots=True)
class Findings:
    """Problems, notices, and those problems that keep single pools from booting, and no other."""

    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)
    own_problems: list[Problem] = field(default_factory=list)
