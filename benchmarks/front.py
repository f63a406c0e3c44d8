"""The nginx before all responders: one process, a port for each, so that all see the path "/"."""

import contextlib
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from harness.web_servers import DEPLOY, Nginx

Protocol = Literal["fastcgi", "uwsgi", "proxy"]

SERVER = """
    upstream responder{number} {{ server {address}; {keepalive} }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        keepalive_requests 100000000;
        location / {{
            {passing}
            {protocol}_buffer_size 16k;
            {protocol}_buffers 16 16k;
            {protocol}_read_timeout 60s;
            {buffering}
{parameters}
        }}
    }}
"""


@dataclass(frozen=True)
class Route:
    """How nginx reaches a responder. `parameters` replace those of the same name."""

    protocol: Protocol
    address: str
    kept: bool = False
    parameters: Mapping[str, str] | None = None


class Front:
    """nginx before the given routes; `urls` has one for each name."""

    def __init__(self, nginx: Nginx, urls: dict[str, str]) -> None:
        self.pid, self.urls = nginx.process.pid, urls


@contextlib.contextmanager
def running_front(routes: Mapping[str, Route], *, buffering: bool = True) -> Iterator[Front]:
    """Run nginx until the block ends."""
    ports = dict(zip(routes, free_ports(len(routes)), strict=True))
    site = "    server { listen 127.0.0.1:PORT; }\n"
    for number, (name, route) in enumerate(routes.items()):
        site += render_server(number, ports[name], route, buffering=buffering)
    with Nginx(site) as nginx:
        yield Front(nginx, {name: f"http://127.0.0.1:{port}" for name, port in ports.items()})


def render_server(number: int, port: int, route: Route, *, buffering: bool) -> str:
    passing = {
        ("fastcgi", True): "fastcgi_pass responder{}; fastcgi_keep_conn on;",
        ("fastcgi", False): "fastcgi_pass responder{};",
        ("uwsgi", False): "uwsgi_pass responder{};",
        ("proxy", True): "proxy_pass http://responder{}; proxy_http_version 1.1;"
        ' proxy_set_header Connection "";',
        ("proxy", False): "proxy_pass http://responder{};",
    }[route.protocol, route.kept]
    parameters = render_parameters(route)
    off = (
        f"{route.protocol}_buffering off; {route.protocol}_request_buffering off;"
        f" {route.protocol}_max_temp_file_size 0;"
    )
    return SERVER.format(
        number=number,
        port=port,
        address=route.address,
        keepalive="keepalive 32;" if route.kept else "",
        passing=passing.format(number),
        protocol=route.protocol,
        parameters=parameters,
        buffering="" if buffering else off,
    )


def render_parameters(route: Route) -> str:
    """The parameters that pyfpm ships, for everybody alike."""
    if route.protocol == "proxy":
        return "            proxy_set_header Host $http_host;"
    text = (DEPLOY / "nginx" / "pyfpm_params").read_text()
    lines = re.findall(r"^fastcgi_param +(\S+) +([^;]+;)", text, re.MULTILINE)
    parameters = dict(lines)
    for name, value in (route.parameters or {}).items():
        parameters[name] = f"{value};"
    return "\n".join(
        f"            {route.protocol}_param {name} {value}" for name, value in parameters.items()
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, each a different one."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_until_answered(
    url: str, expected: str, timeout_s: float = 60, interval_s: float = 0.05
) -> None:
    """Ask until the answer is 200 and contains the text; TimeoutError with the last answer."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                body = answer.read().decode(errors="replace")
            if answer.status == 200 and expected in body:
                return
            said = f"{answer.status}: {body[:200]}"
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.reason}"
        except OSError as error:
            said = str(error)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url}: not {expected!r} with 200, but {said}")
        time.sleep(interval_s)
