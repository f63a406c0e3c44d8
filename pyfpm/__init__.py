"""pyfpm: a FastCGI process manager for Python.

Importing the package loads nothing but the error classes and what chooses between the compiled
and the plain form of the modules below, so that the runtime can be imported inside other people's
interpreters at no cost. What applications use is loaded when they ask for it.
"""

from collections.abc import Callable

from pyfpm.errors import ConfigError, ControlError, ProtocolError, PyfpmError, SpawnError
from pyfpm.form import form as _form  # noqa: F401 - must be in place before any other module is

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "ControlError",
    "ProtocolError",
    "PyfpmError",
    "RequestTimeout",
    "SpawnError",
    "__version__",
    "extend_timeout",
]

# Declared for type checkers only; `__getattr__` finds them in runtime.functions.
RequestTimeout: type[BaseException]
extend_timeout: Callable[[float], None]

_LAZY = frozenset({"RequestTimeout", "extend_timeout"})


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - at no cost to who does not need it

    value: object = getattr(import_module("pyfpm.runtime.functions"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
