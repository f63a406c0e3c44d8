"""The options: what each is called, means, and defaults to. Declared once, as dataclass fields."""

from pyfpm.config.options.main import MainOptions
from pyfpm.config.options.option import Option, Reload
from pyfpm.config.options.pool import PoolOptions
from pyfpm.config.options.table import MAIN, POOL, Scope, find_option

__all__ = [
    "MAIN",
    "POOL",
    "MainOptions",
    "Option",
    "PoolOptions",
    "Reload",
    "Scope",
    "find_option",
]
