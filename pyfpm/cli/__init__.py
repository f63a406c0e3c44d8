"""The `pyfpm` command: one module a command, or a family of them; `program` holds them together."""

from pyfpm.cli.program import main

__all__ = ["main"]
