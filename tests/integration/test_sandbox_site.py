"""A Django site with SQLite in a sandbox."""

import importlib.util
import os
import re

from harness.fcgi_client import fetch
from harness.machine import is_open_to_others, make_venv, needs_sandbox
from harness.master import Pyfpm
from harness.sites import DJANGO, DJANGO_POOL, FORM_TYPE

pytestmark = needs_sandbox

POOL = DJANGO_POOL + "pm = static\n"


def prepare_django(folder):
    make_venv(folder / "django-venv", *DJANGO)
    for name in ("data", "other"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)


def linked_packages():
    """Where the packages of the venv lie that are links: the sandbox follows no link by itself."""
    found = [os.path.dirname(importlib.util.find_spec(name).origin) for name in DJANGO]
    return "sandbox.read = " + " ".join(path for path in found if is_open_to_others(path))


def test_django_site_with_sqlite_in_its_own_folder_works():
    """Migrations at boot, a page, a form, the database; nothing else is listed."""
    lines = POOL + linked_packages() + "\nsandbox.write = data\n"
    with Pyfpm(lines, prepare=prepare_django) as fpm:
        address = fpm.address("django.sock")
        page = fetch(address, "/")
        assert page.status == 200, fpm.log.text()
        token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)[1]
        cookies = [value.partition(";")[0] for name, value in page.headers if name == "Set-Cookie"]
        saved = fetch(
            address,
            "/",
            method="POST",
            body=b"text=a+note&csrfmiddlewaretoken=" + token,
            headers={"Cookie": "; ".join(cookies)},
            params={"CONTENT_TYPE": FORM_TYPE},
        )
        assert saved.status == 302, fpm.log.text()
        assert b"<li>a note</li>" in fetch(address, "/").body
        assert (fpm.folder / "data/notes.sqlite").stat().st_size


def test_django_site_whose_database_is_not_listed_does_not_boot():
    """The positive twin's other half: it is the list that lets the database be opened."""
    lines = POOL + linked_packages() + "\nsandbox.write = other\n"
    with Pyfpm(lines, prepare=prepare_django, wait_ready=False) as fpm:
        fpm.log.wait_for("unable to open database file", timeout_s=30)
        fpm.log.wait_for("no pool could start its application")
        assert fpm.process.wait(20) == 1
