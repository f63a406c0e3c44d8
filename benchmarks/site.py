"""The Django page that is measured: examples/django_site with some notes in its database.

One view with a query, a form with its CSRF token, a template and the usual middleware.
"""

import contextlib
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

from benchmarks.install import VENV, MissingError, peer_user, run
from benchmarks.peers import App

NOTES = 20
EXPECTED = f"note {NOTES - 1} "


def make_site(apps: Path) -> App:
    """Fill the database once, before any peer's worker looks at it."""
    folder = apps / "django_site"
    data = apps / "data"
    database = data / "notes.sqlite"
    app = App("wsgi:application", folder, {"DATABASE": str(database)}, packages=True)
    if database.exists():
        return app
    shutil.copy(apps / "cold.py", folder)
    data.mkdir()
    fill(folder, database)
    if user := peer_user():
        for path in (data, *data.iterdir()):
            shutil.chown(path, user, user)
    return app


def cold(site: App) -> App:
    """The same site, where the first request of each process loads the most of Django."""
    return replace(site, name="cold:application")


def fill(folder: Path, database: Path) -> None:
    command = ["/usr/bin/env", "-C", folder, f"DATABASE={database}"]
    done = run([*command, VENV / "bin" / "python", "manage.py", "migrate", "--verbosity=0"])
    if done.returncode:
        raise MissingError(f"the Django site cannot be set up: {done.stderr.strip()[-300:]}")
    with contextlib.closing(sqlite3.connect(os.fspath(database))) as connection, connection:
        texts = [(f"note {number} of a page that is measured",) for number in range(NOTES)]
        connection.executemany(
            "INSERT INTO notes_note (text, created) VALUES (?, '2026-01-01 00:00:00')", texts
        )
