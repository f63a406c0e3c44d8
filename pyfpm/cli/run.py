"""`pyfpm run`: one application, without any configuration, behind an embedded HTTP front end."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pyfpm.cli.help import NotSupportedYetError, example, planned_option
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.numbers import number
from pyfpm.config import (
    Interface,
    TcpAddress,
    UnixAddress,
    guess_app,
    load_text,
    parse_address,
    parse_app_path,
)
from pyfpm.errors import PyfpmError, reason_of
from pyfpm.front import FrontUser, bind_http, find_front_user, start_front
from pyfpm.kernel.demands import require_kernel
from pyfpm.master import run_master


@click.command(
    "run",
    short_help="Serve an application over HTTP, without configuration.",
    epilog=example(
        "pyfpm run hello:app", "pyfpm run mysite.wsgi:application --listen 0.0.0.0:8080"
    ),
)
@click.argument("app")
@click.option("--listen", default="127.0.0.1:8000", show_default=True, metavar="HOST:PORT")
@click.option("--workers", type=number, default=2, show_default=True)
@click.option(
    "--interface",
    type=click.Choice(["auto", "wsgi", "asgi"]),
    default="auto",
    show_default=True,
    help="How to call the application.",
)
@planned_option("--reload", help="Start anew when the source changes.")
@click.pass_obj
def command(invocation: Invocation, app: str, *, listen: str, workers: int, interface: str) -> int:
    """Serve APP, written module:callable, over HTTP; for development and for trying things out.

    The module is looked up in the current folder first. The application runs in worker processes
    under a master, as in production, and sees the environment that pyfpm was started with.
    """
    check_app(app)
    if interface not in {known.value for known in Interface}:
        raise NotSupportedYetError(f"--interface {interface}")
    address = parse_listen(listen)
    user = find_front_user()
    with _private_folder(user) as folder:
        text = render_config(app, folder, workers=workers, interface=interface, user=user)
        config = load_text(
            text, "<run>", invocation.environ, is_root=user is not None, allow_root=True
        )
        try:
            sock = bind_http(address.host, address.port)
        except OSError as error:
            raise PyfpmError(f"listen on {listen}: {reason_of(error)}") from None
        require_kernel()
        if user is not None:
            click.echo("pyfpm: run: the application runs as root", err=True)
        front = start_front(
            sock, UnixAddress(f"{folder}/app.sock"), app=app, user=user, workers=workers
        )
        try:
            return run_master(config, load=lambda: config, front=front)
        finally:
            front.end()


def check_app(app: str) -> None:
    """Refuse an APP that is not module:callable, with what was probably meant."""
    try:
        parse_app_path(app)
    except ValueError:
        guess = guess_app(app)
        hint = f"; did you mean {guess}?" if guess else ""
        raise click.BadParameter(
            f"{app!r} is not module:callable{hint}", param_hint="APP"
        ) from None


def render_config(
    app: str, folder: str, *, workers: int, interface: str, user: FrontUser | None
) -> str:
    """The configuration of the one pool; its socket admits the front end's user alone."""
    lines = [
        "[pyfpm]",
        f"control = {folder}/control.sock",
        "[pool:app]",
        f"app = {app}",
        f"interface = {interface}",
        f"listen = unix:{folder}/app.sock",
        "listen.mode = 0600",
        *([f"listen.owner = {user.uid}", f"listen.group = {user.gid}"] if user else []),
        "pm = static",
        f"pm.max_children = {workers}",
        "clear_env = no",
    ]
    return "\n".join(lines) + "\n"


def parse_listen(listen: str) -> TcpAddress:
    """Where to serve HTTP; raises click.BadParameter."""
    try:
        # A port alone is every address elsewhere; here nothing leaves the machine unless asked for.
        address = parse_address(f"127.0.0.1:{listen}" if listen.isdecimal() else listen)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    if not isinstance(address, TcpAddress):
        raise click.BadParameter("HTTP is served on HOST:PORT only", param_hint="--listen")
    return address


@contextmanager
def _private_folder(user: FrontUser | None) -> Iterator[str]:
    """A fresh folder for the sockets, removed with what is in it at the end.

    Another user than ours needs to pass through it, but not to read it.
    """
    folder = tempfile.mkdtemp(prefix="pyfpm-run-")
    try:
        if user is not None:
            os.chmod(folder, 0o711)  # noqa: S103  # to pass through, not to read
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
