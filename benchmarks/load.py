"""wrk: one thread, so many connections, for so many seconds."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

LUA = Path(__file__).with_name("load.lua")


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw; `errors` are those that occurred, by kind."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    errors: Mapping[str, int]

    def figures(self) -> dict[str, float]:
        return {key: value for key, value in asdict(self).items() if key != "errors"}


def start_wrk(url: str, seconds: int, connections: int = 32) -> subprocess.Popen[str]:
    """Begin, in a session of its own: Ctrl-C comes to this process alone."""
    return subprocess.Popen(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", LUA, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish_wrk(process: subprocess.Popen[str]) -> Load:
    """Wait for the end and read the figures."""
    try:
        said, _ = process.communicate()
    finally:
        process.kill()
        process.wait()
    found = re.search(r"^figures (.*)", said, re.MULTILINE)
    if not found:
        raise RuntimeError(f"wrk says: {said}")
    told = json.loads(found[1])
    return Load(
        requests=told["requests"],
        rate=told["requests"] / told["duration_us"] * 1e6,
        p50_ms=told["p50_us"] / 1000,
        p99_ms=told["p99_us"] / 1000,
        errors={kind: count for kind, count in told["errors"].items() if count},
    )


def run_wrk(url: str, seconds: int, connections: int = 32) -> Load:
    return finish_wrk(start_wrk(url, seconds, connections))


def describe_errors(errors: Mapping[str, Counter[str]]) -> list[str]:
    """One sentence for each responder that did not answer everything."""
    return [
        f"{name}: wrk counted {', '.join(f'{count} × {kind}' for kind, count in found.items())}"
        for name, found in errors.items()
        if found
    ]
