"""What `pyfpm nginx-conf` and `pyfpm apache-conf` print, in the real web servers."""

import re
import subprocess

import pytest
from harness.machine import REPOSITORY, free_port
from harness.master import Pyfpm, run_pyfpm
from harness.web_servers import APACHE_MODULES, Apache, Lighttpd, Nginx, lighttpd_site

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


def on_test_port(text):
    return text.replace("listen 80;", "listen 127.0.0.1:PORT;").replace("*:80>", "*:PORT>")


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
        text = on_test_port(printed(fpm, "nginx-conf"))
        with Nginx(text) as nginx:
            environ = check_site(nginx)
            assert fpm.status("shop")["parked connections"] >= 1
    assert re.fullmatch(r"\d+\.\d{3}", environ["REQUEST_START"])


@pytest.mark.parametrize("kind", ADDRESSES)
def test_apache_serves_the_pool_with_the_printed_host(kind):
    """The virtual host is all that Apache needs; connections are kept and the start is sent."""
    with Pyfpm(pool_text(kind)) as fpm:
        text = on_test_port(printed(fpm, "apache-conf"))
        with Apache(text) as apache:
            environ = check_site(apache)
            assert fpm.status("shop")["parked connections"] >= 1
    assert re.fullmatch(r"t=\d{16}", environ["REQUEST_START"])
    assert "HTTP_X_REQUEST_START" not in environ


@pytest.mark.parametrize("server", ["nginx", "apache"])
def test_mounted_pool_gets_its_prefix_and_nothing_else(server):
    """`mount` becomes SCRIPT_NAME, and other paths are not the pool's."""
    with Pyfpm(pool_text("unix", "mount = /shop")) as fpm:
        text = on_test_port(printed(fpm, f"{server}-conf"))
        with (Nginx if server == "nginx" else Apache)(text) as web, web.client() as client:
            environ = client.request("GET", "/shop/environ").json()
            assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/environ")
            # The prefix itself is an empty PATH_INFO, for which the application has no route.
            assert client.request("GET", "/shop").body == b"no such route\n"
            for path in ("/shopping", "/"):
                assert b"no such route" not in client.request("GET", path).body


OWN_PAGES = ("pm.status_path = /status", "ping.path = /fpm/ping.txt")
# The web servers believe this header of a client on this machine: a request from anywhere.
STRANGER = {"X-Forwarded-For": "192.0.2.9"}
REAL_IP = {
    "nginx": "set_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;\n",
    "apache": (
        f"LoadModule remoteip_module {APACHE_MODULES}/mod_remoteip.so\n"
        "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n"
    ),
}


@pytest.mark.parametrize("server", ["nginx", "apache"])
@pytest.mark.parametrize("mount", ["", "mount = /shop"])
def test_pages_of_the_pool_are_shown_to_this_machine_only(server, mount):
    """Status and ping are 403 for others however the path is written; the application is not."""
    with Pyfpm(pool_text("unix", mount, *OWN_PAGES)) as fpm:
        text = on_test_port(printed(fpm, f"{server}-conf"))
        site = REAL_IP[server] + text
        with (Nginx if server == "nginx" else Apache)(site) as web, web.client() as client:
            assert client.request("GET", "/status?full").text.startswith("pool: ")
            assert client.request("GET", "/fpm/ping.txt").text == "pong"
            for path in ("/status", "/status?json&full", "/fpm/ping.txt", "/%73tatus"):
                assert client.request("GET", path, headers=STRANGER).status == 403, path
            for path in (
                "//status",
                "/./status",
                "/x/../status",
                "/status/",
                "/status;x",
                "/STATUS",
            ):
                answer = client.request("GET", path, headers=STRANGER)
                assert not answer.text.startswith("pool: "), path
            place = mount.removeprefix("mount = ")
            environ = client.request("GET", f"{place}/environ", headers=STRANGER).json()
            assert environ["REMOTE_ADDR"] == "192.0.2.9"


def test_lighttpd_shows_pages_of_the_pool_to_this_machine_only():
    """The block that the how-to gives does it."""
    text = (REPOSITORY / "docs" / "how-to" / "lighttpd.md").read_text()
    (block,) = re.findall(r"```\n(server.modules.*?)```", text, re.DOTALL)
    trust = (
        'server.modules += ( "mod_extforward" )\nextforward.forwarder = ("127.0.0.1" => "trust")\n'
    )
    with Pyfpm(pool_text("unix", "pm.status_path = /status", "ping.path = /ping")) as fpm:
        site = trust + block + lighttpd_site({"/": fpm.address("shop.sock")})
        with Lighttpd(site) as web, web.client() as client:
            for path in ("/status?full", "/ping", "/p%69ng"):
                assert client.request("GET", path).status == 200
                assert client.request("GET", path, headers=STRANGER).status == 403
            assert client.request("GET", "/environ", headers=STRANGER).status == 200


def try_nginx(folder, *blocks):
    """What `nginx -t` says of blocks in the http section, port 80 and all."""
    whole = folder / "nginx.conf"
    whole.write_text(
        f"pid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{''.join(blocks)}}}\n"
    )
    done = subprocess.run(
        ["/usr/sbin/nginx", "-t", "-e", "stderr", "-c", whole],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def test_nginx_accepts_the_printed_blocks_of_several_pools(tmp_path):
    """As printed, port 80 and all, with odd names: valid, and not one warning."""
    names = ["shop", "a-b.c", "a_b.c", "a..b."]
    config = tmp_path / "pyfpm.conf"
    pages = "pm.status_path = /status\nping.path = /ping\n"
    config.write_text(
        "".join(f"[pool:{x}]\napp = x:y\nlisten = /run/{x}.sock\n{pages}" for x in names)
    )
    blocks = []
    for name in names:
        done = run_pyfpm("-c", config, "nginx-conf", name)
        assert done.returncode == 0, done.stderr
        blocks.append(done.stdout)
    said = try_nginx(tmp_path, *blocks)
    assert "syntax is ok" in said
    assert "[warn]" not in said
    same = blocks[1].replace("server_name a-b.c", "server_name shop")
    assert "conflicting server name" in try_nginx(tmp_path, blocks[0], same)


@pytest.mark.parametrize("server", ["nginx", "apache"])
def test_two_pools_are_two_sites_by_their_names(server):
    """Both blocks in one web server: the Host header decides whose request it is."""
    first = pool_text("unix", "env[POOL] = shop")
    second = first.replace("pool:shop", "pool:blog").replace("shop", "blog")
    with Pyfpm(first + second) as fpm:
        sites = [fpm.command(f"{server}-conf", name).stdout for name in ("shop", "blog")]
        web_server = Nginx if server == "nginx" else Apache
        with web_server(on_test_port("".join(sites))) as web, web.client() as client:
            for name in ("shop", "blog"):
                host = {"Host": f"{name}.example.com"}
                environ = client.request("GET", "/environ", headers=host).json()
                assert environ["SERVER_NAME"] == f"{name}.example.com"
                assert fpm.wait_accepted(name, 1)["accepted conn"] == 1


@pytest.mark.parametrize("command", ["nginx-conf", "apache-conf"])
def test_unknown_pool_names_those_that_there_are(tmp_path, command):
    """A misspelt pool is a usage error with the right names."""
    config = tmp_path / "pyfpm.conf"
    config.write_text("[pool:shop]\napp = x:y\nlisten = /run/x.sock\n")
    done = run_pyfpm("-c", config, command, "shopp")
    assert done.returncode == 64
    assert "no pool 'shopp'; there are: shop" in done.stderr
