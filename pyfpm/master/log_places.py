"""Whether the logs of a configuration can be opened where they are to be; nothing is made.

The same questions are asked when a log is opened, where one pool's log is that pool's affair.
`check` asks all of them at once, and names the lines; `start` where no pool would be left.
"""

import os
from collections.abc import Iterator

from pyfpm.config import Config
from pyfpm.errors import Problem
from pyfpm.kernel.log_path import STDERR_NAMES, find_file_fault, find_folder_fault

_MAIN = "pyfpm"
_NO_FILES = (*STDERR_NAMES, "stdout", "syslog")


def find_log_problems(config: Config, *, spares_others: bool = False) -> list[Problem]:
    """A problem for every log that would not be opened.

    With `spares_others` the logs of pools count only if there is something wrong in every pool.
    """
    found = [
        (section, config.problem(section, key, fault))
        for section, key, path in _logs(config)
        if path not in _NO_FILES and (fault := _fault(path, by_workers=key == "access.log"))
    ]
    wrong = {section for section, _ in found} - {_MAIN}
    if spares_others and len(wrong) < len(config.pools):
        found = [one for one in found if one[0] == _MAIN]
    return [problem for _, problem in found]


def _logs(config: Config) -> Iterator[tuple[str, str, str]]:
    yield _MAIN, "error_log", config.main.error_log
    for name, pool in config.pools.items():
        for key, path in (("slowlog", pool.slowlog), ("access.log", pool.access_log)):
            if path is not None:
                yield f"pool:{name}", key, path


def _fault(path: str, *, by_workers: bool) -> str:
    folder = os.path.dirname(path)
    try:
        if fault := find_folder_fault(folder):
            return f"open log in {folder}: {fault}"
        if fault := find_file_fault(path, os.lstat(path), by_workers=by_workers):
            return f"open log {path}: {fault}"
    except OSError:  # not there yet, or not for these eyes
        pass
    return ""
