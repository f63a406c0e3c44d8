"""How each responder is started: as its documentation says, with what makes it quick.

Every function is a context manager that yields a `Responder`. Sockets are Unix sockets wherever
the peer has them. None writes a log line for a request.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from harness.machine import EXAMPLES, IS_ROOT, POOL_USER, free_port, temporary_folder
from harness.master import Pyfpm
from harness.web_servers import APACHE_MODULES

from benchmarks.front import Protocol, Route
from benchmarks.install import BENCH, VENV, MissingError, build_responder, find_php_fpm, peer_user
from benchmarks.programs import running

BIN = VENV / "bin"


@dataclass(frozen=True)
class App:
    """A WSGI application, as `module:callable` in a folder that the peers' user can read."""

    name: str
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    packages: bool = False  # does it need packages, hence the peers' virtual environment?


@dataclass(frozen=True)
class Responder:
    """A peer that runs: its first process, and the way to it."""

    pid: int
    route: Route
    folder: Path
    fpm: Pyfpm | None = None


Starter = Callable[[], AbstractContextManager[Responder]]


@contextlib.contextmanager
def peer_folder() -> Iterator[Path]:
    """A short path that belongs to the peers' user, for sockets and logs."""
    with temporary_folder() as folder:
        if user := peer_user():
            shutil.chown(folder, user, user)
        yield folder


def copy_apps(folder: Path) -> Path:
    """Copy the examples and our own applications to where every user can read them."""
    target = folder / "apps"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES, target, ignore=ignored)
    shutil.copytree(BENCH / "apps", target, ignore=ignored, dirs_exist_ok=True)
    return target


@contextlib.contextmanager
def pyfpm(
    app: App,
    workers: int,
    *,
    kept: bool = True,
    pure: bool = False,
    options: Mapping[str, object] | None = None,
    wait_ready: bool = True,
) -> Iterator[Responder]:
    """One pool, static unless the options say otherwise."""
    values: dict[str, object] = {
        "app": app.name,
        "directory": app.folder,
        "listen": "%(here)s/pool.sock",
        "listen.mode": "0666",
        "pm": "static",
        "pm.max_children": workers,
        "environment": ",".join(f'{key}="{value}"' for key, value in app.environ.items()),
        **({"python": VENV} if app.packages else {}),
        **(options or {}),
    }
    pool = "\n".join(f"{key} = {value}" for key, value in values.items() if value != "")
    with run_pyfpm(f"[pool:bench]\n{pool}\n", pure=pure, wait_ready=wait_ready) as fpm:
        route = Route("fastcgi", fpm.address("pool.sock"), kept)
        yield Responder(fpm.process.pid, route, fpm.folder, fpm)


def run_pyfpm(pools: str, *, main: str = "", pure: bool = False, wait_ready: bool = True) -> Pyfpm:
    """A master with these pools, to be entered; as root where the peers are root, too."""
    root = IS_ROOT and peer_user() is None
    return Pyfpm(
        pools,
        main=main,
        defaults="user = root" if root else "",
        arguments=["--allow-root"] if root else [],
        environ={"PYFPM_PURE": "1"} if pure else {},
        wait_ready=wait_ready,
    )


@contextlib.contextmanager
def uwsgi(app: App, workers: int, protocol: Protocol = "fastcgi") -> Iterator[Responder]:
    """A master that imports the application and forks; it knows no kept connections."""
    module, _, name = app.name.partition(":")
    with peer_folder() as folder:
        command = [
            BIN / "uwsgi",
            *(f"--{protocol}-socket", folder / "sock", "--chmod-socket=666", "--listen", "1024"),
            *("--master", "--processes", str(workers), "--need-app", "--die-on-term"),
            *("--disable-logging", "--chdir", app.folder, "--pythonpath", app.folder),
            *("--module", module, "--callable", name),
        ]
        with run_peer(command, folder, app) as process:
            yield Responder(process.pid, Route(protocol, f"unix:{folder}/sock"), folder)


@contextlib.contextmanager
def gunicorn(app: App, workers: int) -> Iterator[Responder]:
    """Sync workers, each of which imports the application; they close after each response."""
    with peer_folder() as folder:
        command = [
            *(BIN / "gunicorn", "--bind", f"unix:{folder}/sock", "--umask", "0"),
            *("--workers", str(workers), "--chdir", app.folder, "--no-control-socket", app.name),
        ]
        with run_peer(command, folder, app) as process:
            yield Responder(process.pid, Route("proxy", f"unix:{folder}/sock"), folder)


@contextlib.contextmanager
def granian(app: App, workers: int) -> Iterator[Responder]:
    """Its own HTTP server in Rust, with kept connections."""
    with peer_folder() as folder:
        command = [
            *(BIN / "granian", "--interface", "wsgi", "--uds", folder / "sock", "--no-ws"),
            *("--uds-permissions", "666", "--http", "1", "--workers", str(workers)),
            *("--blocking-threads", "1", "--working-dir", app.folder, app.name),
        ]
        with run_peer(command, folder, app) as process:
            route = Route("proxy", f"unix:{folder}/sock", kept=True)
            yield Responder(process.pid, route, folder)


@contextlib.contextmanager
def flup(app: App, workers: int) -> Iterator[Responder]:
    """The preforking FastCGI server; a kept connection would own a process, so they are closed."""
    with peer_folder() as folder:
        script = app.folder / "serve_flup.py"
        command = [BIN / "python", script, app.name, str(workers), folder / "sock"]
        with run_peer(command, folder, app) as process:
            yield Responder(process.pid, Route("fastcgi", f"unix:{folder}/sock"), folder)


def run_peer(
    command: list[str | Path], folder: Path, app: App
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    if not Path(command[0]).exists():
        raise MissingError(f"{command[0]} is not there")
    return running(command, folder, user=peer_user(), environ=app.environ, cwd=app.folder)


@contextlib.contextmanager
def c_responder(workers: int, *, kept: bool) -> Iterator[Responder]:
    """The limit: benchmarks/responder.c."""
    program = build_responder()
    with peer_folder() as folder:
        command = [program, "kept" if kept else "closed", str(workers), folder / "sock"]
        with running(command, folder, user=peer_user()) as process:
            route = Route("fastcgi", f"unix:{folder}/sock", kept)
            yield Responder(process.pid, route, folder)


PHP_FPM = """\
[global]
daemonize = no
error_log = {folder}/error.log
pid = {folder}/pid

[bench]
listen = {folder}/sock
listen.mode = 0666
listen.backlog = 1024
{user}
pm = static
pm.max_children = {workers}
{more}
"""


@contextlib.contextmanager
def php_fpm(script: Path, workers: int, *, kept: bool, more: str = "") -> Iterator[Responder]:
    """As the distribution configures it, OPcache included; `more` are further lines of its pool.

    `script` serves every path; where it is a folder, /pid is its pid.php.
    """
    program = find_php_fpm()
    if program is None:
        raise MissingError("php-fpm is not installed: apt install php-fpm")
    user = f"user = {POOL_USER}\ngroup = {POOL_USER}" if IS_ROOT else ""
    with temporary_folder() as folder:
        config = folder / "php-fpm.conf"
        config.write_text(PHP_FPM.format(folder=folder, user=user, workers=workers, more=more))
        path = f"{script}$fastcgi_script_name.php" if script.is_dir() else str(script)
        parameters = {"SCRIPT_FILENAME": path, "PATH_INFO": '""'}
        route = Route("fastcgi", f"unix:{folder}/sock", kept, parameters)
        command = [program, "--nodaemonize", "--fpm-config", config]
        with running(command, folder, user=None) as process:
            yield Responder(process.pid, route, folder)


APACHE = """\
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
DefaultRuntimeDir {folder}
Mutex file:{folder} default
Listen 127.0.0.1:{port}
ErrorLog {folder}/error.log
LogLevel warn
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64
KeepAlive On
KeepAliveTimeout 65
MaxKeepAliveRequests 0
WSGISocketPrefix {folder}/wsgi
WSGIRestrictEmbedded On
WSGIDaemonProcess bench processes={workers} threads=1 python-path={app_folder}
WSGIScriptAlias / {app_folder}/{module}.py process-group=bench application-group=%{{GLOBAL}}
WSGICallableObject {name}
<Directory {app_folder}>
    Require all granted
</Directory>
"""


@contextlib.contextmanager
def mod_wsgi(app: App, workers: int) -> Iterator[Responder]:
    """Apache with daemon processes, behind nginx by HTTP with kept connections.

    Its figures hold Apache's own work, too: mod_wsgi is not to be had without.
    """
    module, _, name = app.name.partition(":")
    if not os.path.exists(APACHE_MODULES / "mod_wsgi.so"):
        raise MissingError("mod_wsgi is not installed: apt install libapache2-mod-wsgi-py3")
    user = f"User {POOL_USER}\nGroup {POOL_USER}" if IS_ROOT else ""
    port = free_port()
    with temporary_folder() as folder:
        config = folder / "apache.conf"
        config.write_text(
            APACHE.format(
                folder=folder,
                port=port,
                user=user,
                modules=APACHE_MODULES,
                workers=workers,
                app_folder=app.folder,
                module=module,
                name=name,
            )
        )
        command = ["/usr/sbin/apache2", "-f", config, "-DFOREGROUND"]
        with running(command, folder, user=None) as process:
            yield Responder(process.pid, Route("proxy", f"127.0.0.1:{port}", kept=True), folder)
