import re
from pathlib import Path

import pytest

from pyfpm.cli.apache_conf import render_apache
from pyfpm.cli.nginx_conf import render_nginx
from pyfpm.config import load_text
from pyfpm.errors import PyfpmError

SHIPPED_PARAMS = Path(__file__).parents[3] / "deploy" / "nginx" / "pyfpm_params"


def pool_of(lines, name="shop"):
    text = f"[pool:{name}]\napp = shop:app\n" + "\n".join(lines) + "\n"
    return load_text(text, "<test>", {}, is_root=False, check_system=False).pools[name]


def params_of(text):
    return re.findall(r"^\s*fastcgi_param\s+(\S+)\s+(.+?);", text, re.MULTILINE)


def test_nginx_parameters_are_those_of_the_shipped_file():
    """The printed block and deploy/nginx/pyfpm_params never differ in what a worker sees."""
    printed = params_of(render_nginx(pool_of(["listen = /run/shop.sock"])))
    assert sorted(printed) == sorted(params_of(SHIPPED_PARAMS.read_text()))


@pytest.mark.parametrize(
    ("listen", "server", "backend"),
    [
        ("/run/shop.sock", "unix:/run/shop.sock", "unix:/run/shop.sock|fcgi://shop/"),
        ("127.0.0.1:9000", "127.0.0.1:9000", "fcgi://127.0.0.1:9000/"),
        ("[::1]:9000", "[::1]:9000", "fcgi://[::1]:9000/"),
        (
            "127.0.0.1:9000 /run/shop.sock",
            "unix:/run/shop.sock",
            "unix:/run/shop.sock|fcgi://shop/",
        ),
    ],
)
def test_address_of_the_pool_is_what_the_web_server_connects_to(listen, server, backend):
    """Unix sockets are preferred; other addresses of the pool stand in a comment."""
    pool = pool_of([f"listen = {listen}"])
    assert f"    server {server};\n" in render_nginx(pool)
    assert f'ProxyPass "/" "{backend}"' in render_apache(pool)
    for text in (render_nginx(pool), render_apache(pool)):
        assert ("# The pool listens here too" in text) == (" " in listen)


def test_mount_limits_what_is_passed_on():
    """A mounted pool gets its prefix and what is below, and no path that only begins like it."""
    pool = pool_of(["listen = /run/shop.sock", "mount = /shop"])
    assert re.findall(r"location (.+) \{", render_nginx(pool)) == ["= /shop", "/shop/"]
    assert 'ProxyPass "/shop" "unix:/run/shop.sock|fcgi://shop/shop"' in render_apache(pool)


def test_web_server_lets_go_of_idle_connections_before_the_pool_does():
    """The web server's idle time is below the pool's keepalive_timeout, whatever that is."""
    for timeout, idle in [("75s", 60), ("20s", 16)]:
        pool = pool_of(["listen = /run/shop.sock", f"keepalive_timeout = {timeout}"])
        assert f"keepalive_timeout {idle}s;" in render_nginx(pool)
        assert f" ttl={idle} " in render_apache(pool)


def test_body_limit_of_the_pool_is_the_web_servers_too():
    """A body that the pool refuses need not reach it."""
    pool = pool_of(["listen = /run/shop.sock", "request_max_body = 5M"])
    assert "client_max_body_size 5242880;" in render_nginx(pool)
    assert "LimitRequestBody 5242880" in render_apache(pool)


def test_names_of_pools_stay_apart_in_the_web_server():
    """Pools whose names differ in a sign only have an upstream and a site of their own."""
    names = ["shop", "my-shop.2", "my_shop.2", "a..b."]
    texts = [render_nginx(pool_of(["listen = /run/shop.sock"], name)) for name in names]
    found = [re.search(r"upstream (\S+) \{[^$]*server_name (\S+);", text) for text in texts]
    assert [match.groups() for match in found] == [
        ("pyfpm_shop", "shop.example.com"),
        ("pyfpm_my-shop.2", "my-shop.2.example.com"),
        ("pyfpm_my_shop.2", "my_shop.2.example.com"),
        ("pyfpm_a..b.", "a.b.example.com"),
    ]
    assert "ServerName my-shop.2.example.com\n" in render_apache(
        pool_of(["listen = /run/shop.sock"], "my-shop.2")
    )


OWN_PAGES = ["listen = /run/shop.sock", "pm.status_path = /shop/status", "ping.path = /ping"]


@pytest.mark.parametrize(
    ("mount", "locations", "passed"),
    [
        ([], ["/", "= /shop/status", "= /ping"], ["/"]),
        (
            ["mount = /shop"],
            ["= /shop", "/shop/", "= /shop/status", "= /ping"],
            ["/shop", "/ping"],
        ),
        (["mount = /ping"], ["/ping/", "= /shop/status", "= /ping"], ["/ping", "/shop/status"]),
    ],
)
def test_pages_of_the_pool_are_for_this_machine_only(mount, locations, passed):
    """Each has a place of its own in the web server, beside or below the mount."""
    pool = pool_of([*OWN_PAGES, *mount])
    nginx, apache = render_nginx(pool), render_apache(pool)
    assert re.findall(r"location (.+) \{", nginx) == locations
    assert (
        len(re.findall(r"location = .* \{\n +allow 127.0.0.1;\n +allow ::1;\n +deny", nginx)) == 2
    )
    assert re.findall(r'ProxyPass "(\S+)" ', apache) == passed
    assert '<LocationMatch "^(/shop/status|/ping)$">\n        Require local\n' in apache


def test_pool_without_pages_of_its_own_forbids_nothing():
    """Whatever the application has at /status is for everybody."""
    pool = pool_of(["listen = /run/shop.sock"])
    assert "deny" not in render_nginx(pool)
    assert "Require" not in render_apache(pool)


@pytest.mark.parametrize("render", [render_nginx, render_apache])
def test_sockets_of_systemd_are_left_to_the_reader(render):
    """Their address stands in a unit; known addresses of the pool are printed."""
    with pytest.raises(PyfpmError, match="where a socket unit of systemd says"):
        render(pool_of(["listen = systemd:web"]))
    text = render(pool_of(["listen = systemd:web /run/shop.sock"]))
    assert "unix:/run/shop.sock" in text
    assert "systemd" not in text
