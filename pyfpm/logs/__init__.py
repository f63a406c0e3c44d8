"""The error log: PHP-FPM's line form or JSON, to a file, standard error or syslog.

Built on the standard library's logging. Two levels are added to its own: NOTICE between INFO and
WARNING, and ALERT at the top, because those are the words of PHP-FPM's `log_level`.
"""

from pyfpm.logs.accesslog import AccessFile
from pyfpm.logs.errorlog import LogSettings, open_log, reopen_log, takes_many_lines
from pyfpm.logs.formats import OUTPUT, count_lines, count_output_lines
from pyfpm.logs.levels import Level
from pyfpm.logs.slowlog import SlowEntry, SlowLog, describe_request
from pyfpm.logs.writer import Log

__all__ = [
    "OUTPUT",
    "AccessFile",
    "Level",
    "Log",
    "LogSettings",
    "SlowEntry",
    "SlowLog",
    "count_lines",
    "count_output_lines",
    "describe_request",
    "open_log",
    "reopen_log",
    "takes_many_lines",
]
