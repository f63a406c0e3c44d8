"""Crashes of a pool's workers, and when they are too many: emergency_restart_threshold."""

from pyfpm.logs import Log
from pyfpm.master.setting import Setting
from pyfpm.units import counted


class CrashCounter:
    """Counts deaths by signals that say that a process was damaged, and calls for a new zygote."""

    def __init__(self, setting: Setting, log: Log, pool: str) -> None:
        self._setting = setting
        self._log = log
        self._pool = pool
        self._times_s: list[float] = []

    def count(self, now_s: float) -> None:
        """One more."""
        main = self._setting.main
        most, within_s = main.emergency_restart_threshold, main.emergency_restart_interval
        if not (most and within_s):
            return
        self._times_s = [at_s for at_s in self._times_s if at_s > now_s - within_s] + [now_s]
        if len(self._times_s) >= most:
            self._times_s.clear()
            self._log.alert(
                "emergency_restart",
                f"{counted(most, 'worker')} crashed within {within_s:g} s: the pool gets a new"
                " zygote",
            )
            self._setting.emergency(self._pool)
