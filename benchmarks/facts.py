"""What one has to know before comparing these numbers with others."""

import os
import platform
import pwd
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from harness.machine import REPOSITORY
from harness.master import run_pyfpm as run_command

from benchmarks.install import VENV, find_php_fpm, peer_user, read_versions


def read_machine() -> dict[str, object]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal: *(\d+)", Path("/proc/meminfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory[1]) // 1024 if memory else 0,
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
        "user": peer_user() or pwd.getpwuid(os.getuid()).pw_name,
    }


def read_pyfpm() -> dict[str, object]:
    """Which pyfpm, and which of its two forms ran."""
    return {
        "pyfpm": first(run_command("--version").stdout),
        "pyfpm plain": first(run_command("--version", env={"PYFPM_PURE": "1"}).stdout),
        "commit": read_commit(),
    }


def read_commit() -> str:
    """Which state of the repository; empty outside one, or without git."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        return first(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    except FileNotFoundError:
        return ""


def read_peers() -> dict[str, str]:
    """The version of everything else that takes part."""
    venv = read_versions()
    php = find_php_fpm()
    return {
        "Python": platform.python_version(),
        "Python of the peers": read_version([str(VENV / "bin" / "python"), "-V"]),
        "nginx": read_version(["/usr/sbin/nginx", "-v"]),
        "wrk": read_version(["wrk", "-v"]),
        "uWSGI": venv.get("uwsgi", ""),
        "gunicorn": venv.get("gunicorn", ""),
        "granian": venv.get("granian", ""),
        "flup6": venv.get("flup6", ""),
        "supervisor": venv.get("supervisor", ""),
        "Django": venv.get("django", ""),
        "PHP-FPM": read_version([php, "-v"]) if php else "",
        "Apache": read_version(["/usr/sbin/apache2", "-v"]),
        "mod_wsgi": read_version(
            ["dpkg-query", "-W", "-f", "${Version}", "libapache2-mod-wsgi-py3"]
        ),
        "gcc": read_version(["gcc", "-dumpfullversion"]),
    }


def read_version(command: Sequence[str]) -> str:
    """The first number with a dot in what a program says of itself; empty where it is not there."""
    found = re.search(r"\d+\.\d[\w.]*", first_line(command))
    return found[0] if found else ""


def first_line(command: Sequence[str]) -> str:
    """What a program says first; empty where it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return first(done.stdout + done.stderr)


def first(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].replace("\t", " ") if lines else ""
