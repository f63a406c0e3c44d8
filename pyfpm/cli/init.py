"""`pyfpm init`: a first configuration with a sample application."""

import os
import shlex
from pwd import getpwnam

import click

from pyfpm.cli.help import example
from pyfpm.config import render_sample
from pyfpm.errors import PyfpmError, reason_of

# Who serves when pyfpm runs as root, the first of them that this machine has: the web servers'
# user on Debian, Red Hat, Alpine and Arch, then the one that everybody has.
CANDIDATE_USERS = ("www-data", "apache", "nginx", "http", "nobody")

SAMPLE_APP = '''\
"""A sample application for pyfpm: WSGI (PEP 3333), without any framework."""

import os


def app(environ, start_response):
    text = f"Hello from pyfpm, worker {os.getpid()}: {environ['PATH_INFO']}\\n"
    body = text.encode("utf-8")
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
'''

SAMPLE_POOL = """\
; One pool: an application, where it listens, and how many workers it has.
; `pyfpm nginx-conf hello` and `pyfpm apache-conf hello` print what goes into the web server.

[pool:hello]
; hello.py in the folder below, and the name in it
app = hello:app
directory = ../app
; with a venv of its own: python = /srv/hello/venv

listen = ../run/hello.sock
{identity}
pm = dynamic
pm.max_children = 4

pm.status_path = /status
ping.path = /ping
"""

ROOT_IDENTITY = """\
; the workers run as this user, which the web server's user is here or shares a group with
user = {user}
"""

OWN_IDENTITY = """\
; let the web server in by its group: listen.group = www-data
"""


@click.command(
    "init",
    short_help="Write a first configuration and a sample.",
    epilog=example("pyfpm init", "pyfpm init /etc/pyfpm"),
)
@click.argument("folder", metavar="[DIR]", default=".")
def command(folder: str) -> None:
    """Write pyfpm.conf, pools.d/ and a sample application into DIR (default: here).

    Existing files are never overwritten.
    """
    user = pick_user() if os.geteuid() == 0 else None
    files = sample_files(user)
    in_the_way = [path for path in files if os.path.lexists(os.path.join(folder, path))]
    if in_the_way:
        raise PyfpmError(f"{', '.join(in_the_way)} exists in {folder}: nothing was written")
    try:
        os.makedirs(os.path.join(folder, "run"), exist_ok=True)
        for path, text in files.items():
            _write(os.path.join(folder, path), text)
    except OSError as error:
        raise PyfpmError(f"write {error.filename}: {reason_of(error)}") from None
    click.echo("\n".join(f"wrote {os.path.join(folder, path)}" for path in files))
    if user is not None:
        click.echo(f"\npyfpm runs as root here: the pool's workers will run as {user}")
    click.echo("\nNext:\n" + "".join(f"  {line}\n" for line in next_steps(folder)), nl=False)


def sample_files(user: str | None) -> dict[str, str]:
    """What is written, by path below the folder; `user` is whom root's pool runs as."""
    identity = OWN_IDENTITY if user is None else ROOT_IDENTITY.format(user=user)
    return {
        "pyfpm.conf": render_sample(),
        "pools.d/hello.conf": SAMPLE_POOL.format(identity=identity),
        "app/hello.py": SAMPLE_APP,
    }


def next_steps(folder: str) -> list[str]:
    """The commands to try, as they work from the current folder."""
    here = os.path.normpath(folder) == "."
    pyfpm = "pyfpm" if here else f"pyfpm -c {shlex.quote(os.path.join(folder, 'pyfpm.conf'))}"
    socket = os.path.join(os.path.abspath(folder), "run", "hello.sock")
    return [
        f"{pyfpm} check",
        f"{pyfpm} start",
        f"pyfpm request {shlex.quote('unix:' + socket)} /   (in another terminal)",
        f"{pyfpm} nginx-conf hello",
    ]


def pick_user() -> str:
    """The user for root's sample pool."""
    for name in CANDIDATE_USERS:
        try:
            return getpwnam(name).pw_name
        except KeyError:
            continue
    raise PyfpmError(f"none of the users {', '.join(CANDIDATE_USERS)} exists: make one first")


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # "x" leaves a file alone that appeared since we looked.
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
