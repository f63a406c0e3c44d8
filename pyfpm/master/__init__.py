"""The master: binds listeners, starts zygotes, decides, reaps, answers the control socket."""

from pyfpm.master.daemon import run_master
from pyfpm.master.front_end import FrontProcess
from pyfpm.master.grants import SandboxError
from pyfpm.master.log_places import find_log_problems
from pyfpm.master.probe import probe_pools
from pyfpm.master.sandbox_trial import Finding, Trial, try_sandbox

__all__ = [
    "Finding",
    "FrontProcess",
    "SandboxError",
    "Trial",
    "find_log_problems",
    "probe_pools",
    "run_master",
    "try_sandbox",
]
