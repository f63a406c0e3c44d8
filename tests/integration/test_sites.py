"""A Flask and a Django site, unchanged, each with the interpreter that has its packages."""

import hashlib
import re

import pytest
from harness.machine import make_venv
from harness.master import Pyfpm
from harness.sites import DJANGO, DJANGO_POOL, FORM_TYPE
from harness.web_servers import Nginx, nginx_site

FLASK = ["flask", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "click", "blinker"]
FLASK_POOL = """
[pool:flask]
app = site_app:app
directory = %(here)s/app/flask_site
python = flask-venv
listen = %(here)s/flask.sock
environment = GUESTBOOK="%(here)s/data/guestbook.sqlite",SECRET_KEY="test"
pm = static
pm.max_children = 2
"""
POOLS = FLASK_POOL + DJANGO_POOL + "pm = dynamic\n"

BOUNDARY = "----a-boundary-that-is-in-no-file"


def prepare(folder):
    make_venv(folder / "flask-venv", *FLASK)
    make_venv(folder / "django-venv", *DJANGO)
    (folder / "data").mkdir()
    (folder / "data").chmod(0o777)


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS, prepare=prepare) as running:
        yield running


@pytest.fixture
def flask(fpm):
    """An HTTP client of the Flask site."""
    with Nginx(nginx_site({"/": fpm.address("flask.sock")})) as nginx, nginx.client() as client:
        yield client


@pytest.fixture
def django(fpm):
    """An HTTP client of the Django site."""
    with Nginx(nginx_site({"/": fpm.address("django.sock")})) as nginx, nginx.client() as client:
        yield client


def make_form(content: bytes, **fields: str) -> tuple[bytes, dict[str, str]]:
    """Encode a form with a file as browsers do."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="data.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def cookies_of(response) -> str:
    return "; ".join(value.partition(";")[0] for value in response.all_headers("Set-Cookie"))


FORM = {"Content-Type": FORM_TYPE}


def test_a_flask_page_shows_what_a_form_stored(flask):
    """A template, a form, a redirect, a session cookie and SQLite."""
    signed = flask.post("/sign", b"name=Ada&text=first+entry", FORM)
    assert (signed.status, signed.header("Location")) == (302, "/")
    page = flask.get("/", {"Cookie": cookies_of(signed)})
    assert "<b>Ada</b>: first entry" in page.text
    assert "Thank you!" in page.text


def test_a_flask_upload_arrives_whole(flask):
    """A multipart form of several megabytes, larger than request_buffer_size."""
    content = bytes(range(256)) * 20_000
    body, headers = make_form(content)
    answer = flask.post("/upload", body, headers).json()
    digest = hashlib.sha256(content).hexdigest()
    assert answer == {"name": "data.bin", "size": len(content), "sha256": digest}


def test_a_flask_response_is_streamed(flask):
    """A generator view."""
    assert flask.get("/clock").text == "tick 0\ntick 1\ntick 2\n"


def test_a_flask_url_is_built_for_the_place_where_the_site_is(flask):
    """Non-ASCII and encoded characters in a path survive the way in and out."""
    answer = flask.get("/greet/%C3%A9%20x").json()
    assert answer == {"hello": "é x", "url": "/greet/%C3%A9%20x"}


def test_a_flask_exception_is_a_500_and_in_the_log(flask, fpm):
    """Flask logs through wsgi.errors; that is the pool's log."""
    mark = fpm.log.mark()
    assert flask.get("/broken").status == 500
    fpm.log.wait_for(r"\[pool flask\].*fell into the river", since=mark)


def test_a_django_form_is_protected_and_stored(django):
    """CSRF protection, a session of messages, the ORM and a template."""
    page = django.get("/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
    cookie = {"Cookie": cookies_of(page)}
    assert django.post("/", b"text=no+token", {**FORM, **cookie}).status == 403
    body = f"csrfmiddlewaretoken={token}&text=a+note".encode()
    saved = django.post("/", body, {**FORM, **cookie})
    assert saved.status == 302
    assert "<li>a note</li>" in django.get("/").text
    assert "a note\n" in django.get("/export").text


def test_a_django_upload_arrives_whole(django):
    """A multipart form with its token, larger than Django keeps in memory."""
    page = django.get("/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
    content = bytes(range(256)) * 15_000
    body, headers = make_form(content, csrfmiddlewaretoken=token)
    answer = django.post("/upload", body, {**headers, "Cookie": cookies_of(page)}).json()
    digest = hashlib.sha256(content).hexdigest()
    assert answer == {"name": "data.bin", "size": len(content), "sha256": digest}


def test_a_django_exception_is_a_500_and_in_the_log(django, fpm):
    """The site's own error page for the client, the traceback for the operator."""
    mark = fpm.log.mark()
    response = django.get("/broken")
    assert response.status == 500
    assert "on fire" not in response.text
    fpm.log.wait_for(r"\[pool django\].*the notes are on fire", since=mark)


def test_neither_site_has_pyfpm_installed(fpm):
    """The runtime comes from the master; the sites' environments hold their own packages only."""
    for pool in ("flask", "django"):
        assert fpm.worker_pids(pool)
        site = next((fpm.folder / f"{pool}-venv").glob("lib/*/site-packages"))
        assert not list(site.glob("*pyfpm*"))
