"""`pyfpm --version`."""

from importlib.machinery import EXTENSION_SUFFIXES

import pyfpm
from pyfpm.fastcgi import server


def version_line() -> str:
    """The version, and whether the codec that runs here is compiled or plain Python."""
    is_compiled = str(server.__file__).endswith(tuple(EXTENSION_SUFFIXES))
    return f"pyfpm {pyfpm.__version__} ({'compiled' if is_compiled else 'plain'})"
