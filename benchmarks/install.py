"""Brings the peers: Debian packages, and a virtual environment of their own below build/.

A peer that cannot be installed is named with the reason, and everything else is measured.
"""

import glob
import json
import os
import shutil
import subprocess
from pathlib import Path

from harness.machine import IS_ROOT, POOL_USER, REPOSITORY, is_open_to_others

BENCH = Path(__file__).resolve().parent
BUILD = REPOSITORY / "build" / "bench"
VENV = REPOSITORY / "build" / "bench-venv"

# What the figures are of: pinned, so that a run of next year measures the same.
REQUIREMENTS = {
    "uWSGI": "uWSGI==2.0.31",
    "gunicorn": "gunicorn==27.0.1",
    "granian": "granian==2.8.7",
    "flup6": "flup6==1.1.1",
    "supervisor": "supervisor==4.3.0",
    "Django": "Django>=4.2,<6",
    "plot": "matplotlib>=3.8",
}

# Peer to what has to be there, and the packages that bring it. The first line is for everybody.
PACKAGES = {
    "": (["/usr/sbin/nginx", "/usr/bin/wrk"], ["nginx-light", "wrk"]),
    "C responder": (["/usr/bin/gcc", "/usr/include/stdio.h"], ["gcc", "libc6-dev"]),
    "uWSGI": (["/usr/bin/gcc", "/usr/include/python3*/Python.h"], ["gcc", "python3-dev"]),
    "PHP-FPM": (["/usr/sbin/php-fpm[78]*"], ["php-fpm"]),
    "mod_wsgi": (
        ["/usr/sbin/apache2", "/usr/lib/apache2/modules/mod_wsgi.so"],
        ["apache2", "libapache2-mod-wsgi-py3"],
    ),
}


class MissingError(Exception):
    """Something cannot be had; the text says why and what to do."""


def peer_user() -> str | None:
    """Whom peers and pools run as; None where it is whoever runs this.

    In a clone below a private folder nobody else could execute the virtual environment.
    """
    return POOL_USER if IS_ROOT and is_open_to_others(REPOSITORY) else None


def install() -> dict[str, str]:
    """Install what is missing; return peers that cannot be had, with the reason."""
    missing: dict[str, str] = {}
    for peer, (files, packages) in PACKAGES.items():
        try:
            install_packages(files, packages)
        except MissingError as error:
            if not peer:
                raise
            missing[peer] = str(error)
    have = read_versions()
    for peer, requirement in REQUIREMENTS.items():
        name, _, version = requirement.partition("==")
        found = have.get(name.partition(">")[0].lower())
        if found is None or (version and found != version):
            install_into_venv(peer, requirement, missing)
    return missing


def install_packages(files: list[str], packages: list[str]) -> None:
    """Install Debian packages unless their files are there; MissingError where that fails."""
    if all(map(glob.glob, files)):
        return
    done = run([REPOSITORY / "scripts" / "install-packages", *packages])
    if lacking := [name for name in files if not glob.glob(name)]:
        said = done.stderr.strip().splitlines() or [f"install {' '.join(packages)}"]
        raise MissingError(f"{', '.join(lacking)}: not there: {said[-1]}")


def install_into_venv(peer: str, requirement: str, missing: dict[str, str]) -> None:
    # pip keeps what it has built: a uWSGI in its cache may be linked with another interpreter's
    # library of the same minor version, which then does not find its modules.
    done = run([REPOSITORY / "scripts" / "venv", VENV, "--no-cache-dir", requirement])
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (errors or done.stderr.strip().splitlines() or ["unknown"])[0]
        missing.setdefault(peer, f"pip install {requirement}: {reason}")


def read_versions() -> dict[str, str]:
    """Packages of the virtual environment, in small letters, and their versions."""
    if not (VENV / "bin" / "python").exists():
        return {}
    done = run([VENV / "bin" / "python", "-m", "pip", "list", "--format", "json"])
    return {one["name"].lower(): one["version"] for one in json.loads(done.stdout or "[]")}


def find_php_fpm() -> str | None:
    """The newest one, where there are several."""
    return max(glob.glob("/usr/sbin/php-fpm[78]*"), default=None)


def build_responder() -> Path:
    """Compile the C responder, where its source is newer; return the program."""
    source, program = BENCH / "responder.c", BUILD / "responder"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    gcc = shutil.which("gcc")
    if gcc is None:
        raise MissingError("gcc is not installed: apt install gcc libc6-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    done = run([gcc, "-O2", "-Wall", "-o", program, source])
    if done.returncode:
        raise MissingError(f"{source.name} does not compile: {done.stderr}")
    return program


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run to the end, outside the reach of Ctrl-C, which this process alone answers."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
