"""Load on a web server for the length of a block, with every single request accounted for."""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.machine import wait_until
from harness.web_servers import nginx_site

TESTS = Path(__file__).resolve().parents[1]
ECHO_APP = (TESTS / "harness" / "echo_app.py").read_text()
MOST_SHOWN = 40


@dataclass(frozen=True)
class Failure:
    """One request that was not answered as it must be; `kind` as in `load_generator`."""

    time_s: float  # since the epoch
    kind: str
    method: str
    uri: str
    sent_bytes: int
    status: int
    after_s: float
    what: str

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.time_s))
        return (
            f"{clock}.{int(self.time_s * 1000) % 1000:03} {self.kind}: {self.method} {self.uri}"
            f" ({self.sent_bytes} bytes sent): {self.status or 'no status'}"
            f" after {self.after_s:.3f} s {self.what}"
        )


@dataclass(frozen=True)
class LoadResult:
    """What became of all requests: `counts` by kind, `failures` in the order of their ends."""

    counts: dict[str, int]
    failures: tuple[Failure, ...]
    duration_s: float
    p50_s: float
    p99_s: float
    max_s: float

    @property
    def requests(self) -> int:
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        return self.requests - self.counts.get("ok", 0)

    def __str__(self) -> str:
        rate = self.requests / max(self.duration_s, 0.001)
        summary = (
            f"{self.requests} requests in {self.duration_s:.1f} s ({rate:.0f}/s): {self.counts};"
            f" p50 {self.p50_s * 1000:.1f} ms, p99 {self.p99_s * 1000:.1f} ms,"
            f" longest {self.max_s * 1000:.1f} ms"
        )
        lines = [summary]
        lines += [f"  {failure}" for failure in self.failures[:MOST_SHOWN]]
        if self.failed > MOST_SHOWN:
            lines.append(f"  … and {self.failed - MOST_SHOWN} more")
        return "\n".join(lines)


def site(address: str, *, kept: bool = True) -> str:
    """Make a site for nginx that hides no failure and ends no connection on its own account.

    Without `fastcgi_next_upstream off` nginx repeats a GET whose kept connection ended; with the
    default `keepalive_requests` it ends connections itself, which looks like a loss.
    """
    text = nginx_site({"/": address}, kept=kept)
    return text.replace(
        "server {\n",
        "server {\n        keepalive_requests 1000000000; keepalive_timeout 3600s;\n"
        "        fastcgi_next_upstream off; fastcgi_intercept_errors off;\n"
        "        fastcgi_read_timeout 120s; fastcgi_send_timeout 120s;\n"
        "        error_log stderr error;\n",
    ).replace("keepalive 32;", "keepalive 32; keepalive_requests 1000000000;")


class Load:
    """A process that sends requests to 127.0.0.1 until `stop`, which returns what became of them.

    `rate` is of all connections together (0: as fast as they are answered), `largest` the most
    bytes of a body either way. A pool behind it runs `ECHO_APP`.
    """

    def __init__(
        self,
        port: int,
        *,
        seed: int,
        connections: int = 16,
        rate: float = 0,
        timeout_s: float = 30,
        largest: int = 200_000,
    ) -> None:
        self._arguments = {
            "port": port,
            "seed": seed,
            "connections": connections,
            "rate": rate,
            "timeout": timeout_s,
            "largest": largest,
        }
        self._timeout_s = timeout_s
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        words = [f"--{name}={value}" for name, value in self._arguments.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.load_generator", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self.process.poll() is None:
            print("the load when the test failed:", self.stop())
        self.process.kill()
        self.process.communicate()

    def connections(self, count: int) -> None:
        """Let so many connections take part from now on, at most as many as at the start."""
        self._order(f"connections {count}")

    def counts(self) -> dict[str, int]:
        """Return how many requests have ended, by kind."""
        self._order("count")
        return self._hear(5)["counts"]

    def done(self) -> int:
        """Return how many requests have ended, well or not."""
        return sum(self.counts().values())

    def wait_for(self, more: int, timeout_s: float = 30) -> None:
        """Block until so many more requests have ended."""
        wanted = self.done() + more
        wait_until(lambda: self.done() >= wanted, timeout_s, interval_s=0.05)

    def stop(self) -> LoadResult:
        """Let every request end and return what became of all; prints it too."""
        self._order("stop")
        told = self._hear(self._timeout_s + 10)
        self.process.wait(10)
        failures = tuple(Failure(**failure) for failure in told["failures"])
        result = LoadResult(
            told["counts"],
            failures,
            told["duration_s"],
            told["p50_s"],
            told["p99_s"],
            told["max_s"],
        )
        print(result)
        return result

    def _order(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self, timeout_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        assert ready, f"the load generator said nothing within {timeout_s} s"
        return json.loads(self.process.stdout.readline())
