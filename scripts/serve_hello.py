"""Serve examples/hello.py for a newcomer: `make run`.

Through nginx where it is installed: an nginx process of its own, made from deploy/nginx, on a
free port of 127.0.0.1, that touches nothing of the machine's nginx. Otherwise through the
embedded front end. Everything it makes lies in one temporary folder and is gone at the end.
"""

# ruff: noqa: T201 - it talks to its user

import contextlib
import os
import pwd
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
DEPLOY = REPOSITORY / "deploy" / "nginx"
PYFPM = Path(sys.executable).with_name("pyfpm")
READY = "ready to handle connections"

NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/client_body;
    fastcgi_temp_path {folder}/fastcgi;
    proxy_temp_path {folder}/proxy;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/site.conf;
}}
"""

POOL_CONF = """\
; Made by `make run`; see pools.d/hello.conf for what else a pool can have.

[pyfpm]
control = control.sock

[pool:hello]
app = hello:app
directory = {directory}
listen = %(here)s/hello.sock
pm = dynamic
pm.max_children = 4
pm.status_path = /fpm-status
{identity}
"""

WELCOME = """
pyfpm serves examples/hello.py through nginx:

    {url}

Try next:
    curl -i {url}any/path
    curl '{url}fpm-status?full'
    {pyfpm} -c {config} status
    less {config}

Ctrl-C ends it.
"""


def find_free_port(first: int = 8000) -> int:
    """Find the first port of 127.0.0.1 from `first` on that nobody listens on."""
    for port in range(first, first + 200):
        with socket.socket() as probe:
            # As nginx binds: a port whose old connections are in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    sys.exit(f"no free port between {first} and {first + 199}")


def find_nginx() -> str | None:
    """Find nginx, which is seldom on the PATH of users other than root."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def find_closed_folder(path: Path) -> Path | None:
    """Find the first folder on the way to `path` that other users cannot enter."""
    return next(
        (each for each in reversed([path, *path.parents]) if not each.stat().st_mode & 1), None
    )


def choose_identity(folder: Path) -> tuple[Path, str, list[str]]:
    """Choose the example's folder, the pool's identity lines and the arguments for `start`.

    Only root can and has to choose a user. It is one who may not be able to enter the clone
    (/root/pyfpm, say); then the example runs from a copy, with an interpreter outside the clone.
    """
    if os.getuid() != 0:
        return EXAMPLES, "", []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "www-data" if "www-data" in names else "nobody"
    python = Path(sys.executable).resolve()
    python_closed = find_closed_folder(python.parent)
    closed = find_closed_folder(EXAMPLES) or find_closed_folder(PYFPM.parent) or python_closed
    if closed is None:
        return EXAMPLES, f"user = {user}", []
    if python_closed is not None:
        print(f"{user} can enter neither {closed} nor the folder of {python}: serving as root")
        return EXAMPLES, "", ["--allow-root"]
    print(f"{user} cannot enter {closed}: serving a copy of the example in {folder}, with {python}")
    shutil.copy(EXAMPLES / "hello.py", folder)
    return folder, f"user = {user}\npython = {python}", []


def write_configuration(folder: Path, port: int) -> list[str]:
    """Write the files of pyfpm and nginx; return the arguments for `pyfpm start`."""
    directory, identity, arguments = choose_identity(folder)
    (folder / "pyfpm.conf").write_text(POOL_CONF.format(directory=directory, identity=identity))
    site = (DEPLOY / "site.conf").read_text()
    for old, new in (
        ("unix:/run/pyfpm/hello.sock", f"unix:{folder}/hello.sock"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("include pyfpm_params;", f"include {folder}/pyfpm_params;"),
    ):
        if old not in site:
            sys.exit(
                f"{DEPLOY / 'site.conf'} has no {old!r} any more: change scripts/serve_hello.py"
            )
        site = site.replace(old, new)
    (folder / "site.conf").write_text(site)
    shutil.copy(DEPLOY / "pyfpm_params", folder)
    user = identity.partition("\n")[0].replace(" = ", " ") + ";" if identity else ""
    if os.getuid() == 0 and not user:
        user = "user root;"
    (folder / "nginx.conf").write_text(NGINX_CONF.format(folder=folder, user=user))
    return arguments


def start_pyfpm(folder: Path, arguments: list[str]) -> subprocess.Popen[str]:
    """Start the master."""
    # A session of its own: Ctrl-C comes to this script alone, which then ends both in order.
    return subprocess.Popen(
        [PYFPM, "-c", folder / "pyfpm.conf", "start", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until_ready(master: subprocess.Popen[str]) -> None:
    """Pass the master's messages on, from now to its end, and return when it is ready."""
    outcome: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def pass_on() -> None:
        assert master.stderr is not None
        for line in master.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            if READY in line:
                outcome.put(True)
        outcome.put(False)

    threading.Thread(target=pass_on, daemon=True).start()
    if not outcome.get():
        sys.exit(f"pyfpm ended with {master.wait()}")


def start_nginx(nginx: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start nginx in the foreground."""
    command = [nginx, "-c", str(folder / "nginx.conf")]
    usage = subprocess.run([nginx, "-h"], capture_output=True, text=True, check=False).stderr
    if "-e " in usage:  # since 1.19.5; before, it may complain about its compiled-in log
        command += ["-e", "stderr"]
    return subprocess.Popen(command, start_new_session=True)


def wait_until_listening(server: subprocess.Popen[bytes], port: int) -> None:
    """Connect until nginx accepts: it tells nobody when it is ready."""
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    sys.exit(f"nginx ended with {server.returncode}")


@contextlib.contextmanager
def ended(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process with the block, whatever happens in it."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(35)
        except subprocess.TimeoutExpired:
            process.kill()


def serve_through_nginx(nginx: str) -> None:
    """Serve until Ctrl-C, or until one of the two processes ends."""
    port = find_free_port()
    with tempfile.TemporaryDirectory(prefix="pyfpm-hello-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        arguments = write_configuration(folder, port)
        master = start_pyfpm(folder, arguments)
        with ended(master):
            wait_until_ready(master)
            server = start_nginx(nginx, folder)
            with ended(server):
                wait_until_listening(server, port)
                url, config = f"http://127.0.0.1:{port}/", folder / "pyfpm.conf"
                print(WELCOME.format(url=url, pyfpm=PYFPM, config=config), flush=True)
                ended_pid, _ = os.wait()
                sys.exit("nginx ended" if ended_pid == server.pid else "pyfpm ended")


def serve_through_front_end() -> NoReturn:
    """Become `pyfpm run`, which needs no web server."""
    print("nginx is not installed: serving through the embedded front end", flush=True)
    os.chdir(EXAMPLES)
    os.execv(PYFPM, [PYFPM, "run", "hello:app", "--listen", f"127.0.0.1:{find_free_port()}"])  # noqa: S606


def raise_interrupt(*_: object) -> NoReturn:
    """Let SIGTERM end the script as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> None:
    """Serve until the user ends it."""
    os.umask(0o022)
    nginx = find_nginx()
    if nginx is None:
        serve_through_front_end()
    signal.signal(signal.SIGTERM, raise_interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        serve_through_nginx(nginx)


if __name__ == "__main__":
    main()
