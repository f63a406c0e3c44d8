"""The master: binds listeners, starts zygotes, decides, reaps, answers the control socket."""

from pyfpm.master.daemon import run_master
from pyfpm.master.front_end import FrontProcess
from pyfpm.master.probe import probe_identities

__all__ = ["FrontProcess", "probe_identities", "run_master"]
