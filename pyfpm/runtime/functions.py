"""The public functions: what `import pyfpm` offers to applications (CONTRACT 6)."""

from pyfpm.runtime.time_limit import RequestTimeout, time_limit

__all__ = ["RequestTimeout", "extend_timeout"]


def extend_timeout(seconds: float) -> None:
    """Let the running request take until `seconds` from now; never shortens what it has.

    Any thread may call it, for the request that runs in its worker. Without
    request_terminate_timeout there is nothing to extend and nothing happens.

    Raises RuntimeError outside a pyfpm worker and while no request runs, ValueError unless
    `seconds` is finite and above 0.
    """
    time_limit.extend(seconds)
