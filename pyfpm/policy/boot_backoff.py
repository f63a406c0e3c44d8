"""Boot failures slow their pool down.

A worker that never became ready will most likely fail again, so the pool tries with *one* worker
after 100 ms, 200 ms, 400 ms … and at last every 10 s, until one is ready. A worker that died after
it had served is another matter: it is replaced at once, within pm.max_spawn_rate. What counts as a
failed boot is the caller's to say.
"""

from dataclasses import replace

from pyfpm.policy.memory import Memory

FIRST_DELAY_S = 0.1
LAST_DELAY_S = 10.0


def note_boot_failed(memory: Memory, now_s: float, *, started_s: float) -> Memory:
    """Remember that a boot begun at `started_s` failed at `now_s`.

    Of several workers spawned together only the first failure counts: the others had started
    before anybody knew, and say nothing about whether the *next* boot will fail.
    """
    if memory.boot_failures and started_s <= memory.failed_s:
        return memory
    failures = memory.boot_failures + 1
    return replace(
        memory, boot_failures=failures, failed_s=now_s, retry_s=now_s + backoff_delay_s(failures)
    )


def note_ready(memory: Memory) -> Memory:
    """Remember that a worker became ready: the pool may spawn freely again."""
    if not memory.boot_failures:
        return memory
    fresh = Memory()
    return replace(memory, boot_failures=0, failed_s=fresh.failed_s, retry_s=fresh.retry_s)


def backoff_delay_s(failures: int) -> float:
    """The pause in seconds after the `failures`-th boot in a row that failed (from 1)."""
    # The exponent is bounded before the power is taken: a pool may fail for months.
    doublings = min(failures - 1, 10)
    return min(FIRST_DELAY_S * 2.0**doublings, LAST_DELAY_S)
