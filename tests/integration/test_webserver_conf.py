"""What `pyfpm nginx-conf` and `pyfpm apache-conf` print, in the real web servers."""

import re
import subprocess

import pytest
from harness.machine import free_port
from harness.master import Pyfpm, run_pyfpm
from harness.web_servers import Apache, Nginx

ADDRESSES = ["unix", "tcp"]


def pool_text(kind, *lines):
    listen = "unix:shop.sock" if kind == "unix" else f"127.0.0.1:{free_port()}"
    more = "\n".join(lines)
    # The web servers' own user is the pool's in the tests, so the socket's mode admits them.
    return (
        f"[pool:shop]\napp = torture:app\nlisten = {listen}\n"
        f"pm = static\npm.max_children = 2\n{more}\n"
    )


def printed(fpm, command):
    done = fpm.command(command, "shop")
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_site(server):
    """A plain request, one with a body, and the variables that the application needs."""
    with server.client() as client:
        assert client.request("POST", "/echo", b"hello").body == b"hello"
        environ = client.request(
            "GET", "/environ?a=b", headers={"Authorization": "Basic eDp5"}
        ).json()
        assert client.request("GET", "/environ?a=b").status == 200
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["PATH_INFO"] == "/environ"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["QUERY_STRING"] == "a=b"
    assert environ["HTTP_AUTHORIZATION"] == "Basic eDp5"
    return environ


@pytest.mark.parametrize("kind", ADDRESSES)
def test_nginx_serves_the_pool_with_the_printed_block(kind):
    """The block is all that nginx needs; connections are kept and the start of requests is sent."""
    with Pyfpm(pool_text(kind)) as fpm:
        text = printed(fpm, "nginx-conf").replace("listen 80;", "listen 127.0.0.1:PORT;")
        with Nginx(text) as nginx:
            environ = check_site(nginx)
            assert fpm.status("shop")["parked connections"] >= 1
    assert re.fullmatch(r"\d+\.\d{3}", environ["REQUEST_START"])


@pytest.mark.parametrize("kind", ADDRESSES)
def test_apache_serves_the_pool_with_the_printed_host(kind):
    """The virtual host is all that Apache needs; connections are kept and the start is sent."""
    with Pyfpm(pool_text(kind)) as fpm:
        text = printed(fpm, "apache-conf").replace("*:80>", "*:PORT>")
        with Apache(text) as apache:
            environ = check_site(apache)
            assert fpm.status("shop")["parked connections"] >= 1
    assert re.fullmatch(r"t=\d{16}", environ["REQUEST_START"])
    assert "HTTP_X_REQUEST_START" not in environ


@pytest.mark.parametrize("server", ["nginx", "apache"])
def test_mounted_pool_gets_its_prefix_and_nothing_else(server):
    """`mount` becomes SCRIPT_NAME, and other paths are not the pool's."""
    with Pyfpm(pool_text("unix", "mount = /shop")) as fpm:
        text = printed(fpm, f"{server}-conf")
        text = text.replace("listen 80;", "listen 127.0.0.1:PORT;").replace("*:80>", "*:PORT>")
        with (Nginx if server == "nginx" else Apache)(text) as web, web.client() as client:
            environ = client.request("GET", "/shop/environ").json()
            assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/environ")
            # The prefix itself is an empty PATH_INFO, for which the application has no route.
            assert client.request("GET", "/shop").body == b"no such route\n"
            for path in ("/shopping", "/"):
                assert b"no such route" not in client.request("GET", path).body


def test_nginx_accepts_the_printed_block(tmp_path):
    """`nginx -t` on the block as printed, port 80 and all, with an odd pool name."""
    config = tmp_path / "pyfpm.conf"
    config.write_text("[pool:a-b.c]\napp = x:y\nlisten = /run/x.sock\n")

    done = run_pyfpm("-c", config, "nginx-conf", "a-b.c")
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{done.stdout}}}\n"
    )
    tried = subprocess.run(
        ["/usr/sbin/nginx", "-t", "-e", "stderr", "-c", whole],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "syntax is ok" in tried.stderr


@pytest.mark.parametrize("command", ["nginx-conf", "apache-conf"])
def test_unknown_pool_names_those_that_there_are(tmp_path, command):
    """A misspelt pool is a usage error with the right names."""
    config = tmp_path / "pyfpm.conf"
    config.write_text("[pool:shop]\napp = x:y\nlisten = /run/x.sock\n")
    done = run_pyfpm("-c", config, command, "shopp")
    assert done.returncode == 64
    assert "no pool 'shopp'; there are shop" in done.stderr
