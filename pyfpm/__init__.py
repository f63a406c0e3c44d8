"""pyfpm: a FastCGI process manager for Python.

Importing the package loads nothing but the error classes, so that the runtime can be imported
inside other people's interpreters at no cost.
"""

from pyfpm.errors import ConfigError, ControlError, ProtocolError, PyfpmError, SpawnError

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "ControlError",
    "ProtocolError",
    "PyfpmError",
    "SpawnError",
    "__version__",
]
