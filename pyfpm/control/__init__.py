"""The control socket: JSON lines between the command line and the master.

`ControlServer` runs in the master, `ControlClient` in `pyfpm status` and its kin. The lines
themselves are described in `protocol`.
"""

from pyfpm.control.call import Call, ResumedCall, resume_call
from pyfpm.control.client import ControlClient
from pyfpm.control.location import default_path
from pyfpm.control.protocol import ExitCode
from pyfpm.control.server import Command, ControlServer

__all__ = [
    "Call",
    "Command",
    "ControlClient",
    "ControlServer",
    "ExitCode",
    "ResumedCall",
    "default_path",
    "resume_call",
]
