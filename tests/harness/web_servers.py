"""Real web servers, each with a configuration, a folder and a port of its own.

A server is given the text of a site, in which `PORT` stands for its port. The `…_site` functions
make such texts for a set of routes (URL prefix to address); the files in `deploy/` are texts too.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.http_client import HttpClient
from harness.log_reader import LogReader
from harness.machine import (
    IS_ROOT,
    POOL_USER,
    REPOSITORY,
    free_port,
    temporary_folder,
    web_server_missing,
)

DEPLOY = REPOSITORY / "deploy"
APACHE_MODULES = Path("/usr/lib/apache2/modules")


class WebServer:
    """A web server in the foreground for the length of a block; the subclasses configure it."""

    binary: str

    def __init__(self, site: str) -> None:
        if not os.path.exists(self.binary):
            web_server_missing(self.binary)
        self.site = site
        self.port = free_port()
        self._stack = ExitStack()
        self.folder: Path
        self.log: LogReader
        self.process: subprocess.Popen[bytes]

    def make_command(self) -> list[str]:
        """Write the configuration; return the command that runs the server in the foreground."""
        raise NotImplementedError

    @property
    def user(self) -> str:
        """The user of the processes that serve; empty where only root could choose."""
        return POOL_USER if IS_ROOT else ""

    @property
    def site_text(self) -> str:
        return re.sub(r"\bPORT\b", str(self.port), self.site)  # SERVER_PORT is another word

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> HttpClient:
        return HttpClient(self.port)

    def __enter__(self) -> Self:
        self.folder = self._stack.enter_context(temporary_folder())
        try:
            command = self.make_command()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            assert self.process.stderr is not None
            self.log = LogReader(self.process.stderr)
            self._wait_ready()
        except BaseException:
            self._stop()
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._stop()
            self.log.show(f"log of {self.binary}")
        finally:
            self._stack.close()

    def _wait_ready(self, timeout_s: float = 15) -> None:
        """Connect until it answers: these servers announce their readiness to nobody."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                ended = self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    self.process.kill()
                    self.log.wait_for_end()
                    raise AssertionError(
                        f"{self.binary} did not start:\n{self.log.text()}"
                    ) from None
                time.sleep(0.01)
            else:
                return

    def _stop(self) -> None:
        if not hasattr(self, "process"):
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.wait_for_end()


class Nginx(WebServer):
    """nginx with one process, so that its kept connections are all in one place."""

    binary = "/usr/sbin/nginx"

    def make_command(self) -> list[str]:
        shutil.copy(DEPLOY / "nginx" / "pyfpm_params", self.folder)
        temporary = "".join(
            f"    {kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"daemon off;\nworker_processes 1;\npid {self.folder}/nginx.pid;\n"
            + (f"user {self.user};\n" if self.user else "")
            + "error_log stderr info;\nevents { worker_connections 1024; }\n"
            + f"http {{\n    access_log off;\n    client_max_body_size 0;\n{temporary}"
            + f"{self.site_text}\n}}\n"
        )
        return [self.binary, "-e", "stderr", "-p", str(self.folder), "-c", "nginx.conf"]


class Apache(WebServer):
    """Apache with the event MPM and what the shipped configuration needs."""

    binary = "/usr/sbin/apache2"

    def make_command(self) -> list[str]:
        modules = "".join(
            f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n"
            for name in (
                *("mpm_event", "authz_core", "authz_host"),
                *("proxy", "proxy_fcgi", "headers", "setenvif"),
            )
        )
        config = self.folder / "apache.conf"
        config.write_text(
            f"ServerRoot {self.folder}\nServerName localhost\nPidFile {self.folder}/apache.pid\n"
            f"DefaultRuntimeDir {self.folder}\nMutex file:{self.folder} default\n"
            f"Listen 127.0.0.1:{self.port}\nErrorLog /dev/stderr\nLogLevel info\n"
            + (f"User {self.user}\nGroup {self.user}\n" if self.user else "")
            + f"{modules}StartServers 1\nServerLimit 1\nThreadsPerChild 64\nMaxRequestWorkers 64\n"
            "MinSpareThreads 1\nMaxSpareThreads 64\n"
            "GracefulShutdownTimeout 1\nKeepAliveTimeout 1\n"
            f"{self.site_text}\n"
        )
        return [self.binary, "-f", str(config), "-DFOREGROUND"]


class Lighttpd(WebServer):
    """lighttpd, which knows no kept FastCGI connections."""

    binary = "/usr/sbin/lighttpd"

    def make_command(self) -> list[str]:
        uploads = self.folder / "uploads"
        uploads.mkdir()
        uploads.chmod(0o777)
        config = self.folder / "lighttpd.conf"
        config.write_text(
            "server.modules = ()\n"
            f'server.port = {self.port}\nserver.bind = "127.0.0.1"\n'
            f'server.document-root = "{self.folder}"\nserver.upload-dirs = ( "{uploads}" )\n'
            + (f'server.username = "{self.user}"\n' if self.user else "")
            + self.site_text
        )
        return [self.binary, "-D", "-f", str(config)]


def nginx_site(
    routes: Mapping[str, str], *, kept: bool = True, request_buffering: bool = True
) -> str:
    """Make a site for nginx, kept or closed connections, with or without request buffering."""
    upstreams, locations = "", ""
    for number, (prefix, address) in enumerate(routes.items()):
        keepalive = "keepalive 32; keepalive_timeout 60s;" if kept else ""
        upstreams += f"    upstream pool{number} {{ server {address}; {keepalive} }}\n"
        locations += (
            f"        location {prefix} {{ include pyfpm_params; fastcgi_pass pool{number};"
            f" fastcgi_keep_conn {'on' if kept else 'off'};"
            f" fastcgi_request_buffering {'on' if request_buffering else 'off'};"
            " fastcgi_buffer_size 16k; fastcgi_buffers 16 16k; }\n"
        )
    return f"{upstreams}    server {{\n        listen 127.0.0.1:PORT;\n{locations}    }}\n"


def apache_site(routes: Mapping[str, str], *, kept: bool = True) -> str:
    """Make a site for Apache; the longest prefix first, for mod_proxy takes the first match."""
    lines = ['ProxyTimeout 60\nRequestHeader set X-Request-Start "%t"']
    for number, prefix in enumerate(sorted(routes, key=len, reverse=True)):
        address = routes[prefix]
        if address.startswith("unix:"):
            target = f"{address}|fcgi://pool{number}{prefix}"
        else:
            target = f"fcgi://{address}{prefix}"
        reuse = "enablereuse=on max=64 ttl=60" if kept else "enablereuse=off"
        lines.append(f'ProxyPass "{prefix}" "{target}" {reuse} retry=0 flushpackets=on')
    lines.append('<Location "/">\nProxyFCGIBackendType GENERIC\nCGIPassAuth On\n</Location>')
    return "\n".join(lines)


def lighttpd_site(routes: Mapping[str, str]) -> str:
    """Make a site for lighttpd; the longest prefix first, as for Apache."""
    text = 'server.modules += ( "mod_fastcgi" )\nserver.stream-response-body = 1\n'
    entries = []
    for prefix in sorted(routes, key=len, reverse=True):
        address = routes[prefix]
        if address.startswith("unix:"):
            where = f'"socket" => "{address.removeprefix("unix:")}"'
        else:
            host, _, port = address.rpartition(":")
            where = f'"host" => "{host}", "port" => {port}'
        entries.append(
            f'"{prefix}" => (( {where}, "check-local" => "disable",'
            ' "fix-root-scriptname" => "enable", "disable-time" => 0 ))'
        )
    return f"{text}fastcgi.server = ( {', '.join(entries)} )\n"


def deployed_site(name: str, address: str) -> str:
    """Return a file of deploy/ as shipped, but for the address of the pool and the port."""
    text = (DEPLOY / name).read_text()
    socket_path = address.removeprefix("unix:")
    assert "/run/pyfpm/hello.sock" in text
    return (
        text.replace("/run/pyfpm/hello.sock", socket_path)
        .replace("listen 80;", "listen 127.0.0.1:PORT;")
        .replace("*:80>", "*:PORT>")
    )
