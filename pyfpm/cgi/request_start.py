"""REQUEST_START: when the web server took the request in, by its wall clock."""

import re

_SECONDS = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_MICROSECONDS = re.compile(r"t=(\d{1,18})", re.ASCII)
_LONGEST_WAIT_S = 3600


def waited_s(request_start: str, now_s: float) -> float | None:
    """For how many seconds the request has waited when it is `now_s` of the same clock.

    The forms are seconds with a fraction (nginx `$msec`) and `t=` with microseconds (Apache's
    `%t`). None where it is malformed, in the future, or so long ago that rather the clocks differ.
    """
    if match := _MICROSECONDS.fullmatch(request_start):
        start_s = int(match[1]) / 1_000_000
    elif _SECONDS.fullmatch(request_start):
        start_s = float(request_start)
    else:
        return None
    waited = now_s - start_s
    return waited if 0 <= waited <= _LONGEST_WAIT_S else None
