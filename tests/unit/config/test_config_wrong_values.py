"""The wording of a wrong value: one problem at its line, with section, key and remedy."""

import pytest
from config_text import POOL, problems_of


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("app = a:b", "app: is set twice, first at /etc/pyfpm/f.conf:2; leave one of them out"),
        ("pm.max_childs = 4", "pm.max_childs: unknown key, did you mean pm.max_children?"),
        ("xyzzy = 4", "xyzzy: unknown key; `pyfpm options` lists the keys that there are"),
        ("process.max = 4", "process.max: stands in the wrong section; it belongs in [pyfpm]"),
        ("environment_file = /x", "environment_file: not supported yet; remove it"),
        (
            "access.suppress_path[] = health",
            (
                "access.suppress_path[]: 'health' is not a path of a request; write it as"
                " /health, without a query string"
            ),
        ),
        (
            "access.format = %R %z",
            (
                "access.format: '%z' is no placeholder; there are %b %C %d %e %f %l %M %m %n %o %P"
                " %p %Q %q %R %r %s %T %t %u, and %%%% is a percent sign"
            ),
        ),
        (
            "access.format = %{cycles}C",
            (
                "access.format: %{cycles}C: write one of total, user, system in the braces, or no"
                " braces"
            ),
        ),
        (
            "access.log = syslog",
            "access.log: syslog takes no access log; write a path, stdout or stderr",
        ),
        ("interface = asgi", "interface: asgi is not supported yet; write auto or wsgi"),
        ("isolation = fork", "isolation: fork is not supported yet; write persist"),
        (
            "pm.threads = 4",
            "pm.threads: anything but 1 is not supported yet; write 1 and raise pm.max_children",
        ),
        ("pm = fast", "pm: 'fast' is not one of static, dynamic, ondemand"),
        ("isolation = request", "isolation: 'request' is unknown; write persist"),
        ('pm = "static"', 'pm: the quotes in "static" are part of the value; write static'),
        ("umask = '022'", "umask: the quotes in '022' are part of the value; write 022"),
        ("pm = 'fast'", "pm: \"'fast'\" is not one of static, dynamic, ondemand"),
        (
            "pm =",
            "pm: is empty; write static, dynamic, ondemand, or leave the key out for its default",
        ),
        (
            "keepalive_timeout =",
            "keepalive_timeout: is empty; write time above 0, or leave the key out for its default",
        ),
        (
            "listen.allowed_clients = 10.0.0.1\n  pm = static",
            (
                "listen.allowed_clients: the value goes on over the next lines, because they are"
                " indented deeper; start each key at the same column"
            ),
        ),
        (
            "pm.reload_surge = lots",
            (
                "pm.reload_surge: 'lots' is neither a percentage nor a number from 1 on;"
                " write 25% or 2"
            ),
        ),
        ("statsd = udp://x:1", "statsd: not supported yet; remove it"),
        ("access = x", "access: unknown key, did you mean access.log?"),
        (
            "include = pools.d/*.conf",
            "include: is a section here; write [include], and below it files = pools.d/*.conf",
        ),
        ("pm.max_children = 0", "pm.max_children: 0 is out of range; write a number from 1"),
        (
            "pm.max_children = many",
            "pm.max_children: 'many' is not a whole number; write one from 1",
        ),
        (
            "pm.max_children = 99999999999999999999",
            (
                "pm.max_children: 99999999999999999999 is out of range;"
                " write a number from 1 to 4194304"
            ),
        ),
        (
            "pm.max_requests = 1000000000000000",
            (
                "pm.max_requests: 1000000000000000 is out of range;"
                " write a number from 0 to 999999999999999"
            ),
        ),
        (
            "pm.max_memory = 9999999999999999M",
            "pm.max_memory: '9999999999999999M' is too large; write less",
        ),
        (
            "pm.max_connections = 0",
            "pm.max_connections: 0 is out of range; write a number from 1",
        ),
        (
            "listen.backlog = -2",
            "listen.backlog: -2 is out of range; write a number from -1 to 2147483647",
        ),
        (
            "keepalive_timeout = 10000000000",
            "keepalive_timeout: '10000000000' is more than ten years",
        ),
        ("boot_timeout = 0", "boot_timeout: '0' is no time at all; write at least 1ms"),
        (
            "keepalive_timeout = 5x",
            "keepalive_timeout: '5x' is not a time; write it as 30, 30s, 5m, 500ms or 1h30m",
        ),
        (
            "request_max_params = 0",
            "request_max_params: '0' leaves no room at all; write at least 1",
        ),
        (
            "request_buffer_size = big",
            "request_buffer_size: 'big' is not a size; write it as 512, 64KB, 1M or 1GiB",
        ),
        (
            "listen.mode = rw",
            "listen.mode: 'rw' is not a mode; write it in octal digits, such as 0660",
        ),
        ("umask = 7777", "umask: '7777' is not a umask; write it in octal digits, such as 022"),
        ("autostart = maybe", "autostart: 'maybe' is neither yes nor no; write yes or no"),
        (
            "pm.status_path = status",
            (
                "pm.status_path: 'status' is not a path such as /status: a slash, then letters,"
                " digits and / - _ . ~"
            ),
        ),
        (
            "ping.path = /ping?x",
            (
                "ping.path: '/ping?x' is not a path such as /status: a slash, then letters,"
                " digits and / - _ . ~"
            ),
        ),
        (
            "ping.response =",
            "ping.response: the value is empty; give one, or leave the key out for its default",
        ),
        (
            "mount = /shop/",
            (
                "mount: '/shop/' is not a prefix such as /shop, without a slash at its end;"
                " leave it empty for the root"
            ),
        ),
        (
            "listen.allowed_clients = 10.1.2.3/8",
            (
                "listen.allowed_clients: '10.1.2.3/8' is an address inside a network;"
                " write the network as 10.0.0.0/8"
            ),
        ),
        (
            "listen.allowed_clients = web",
            (
                "listen.allowed_clients: 'web' is not an address or network;"
                " write it as 10.1.2.3, 10.0.0.0/8 or fd00::/8"
            ),
        ),
        (
            "listen.allowed_clients = web, 10.1.2.3/8, 10.0.0.1 db",
            (
                "listen.allowed_clients: 'web' is not an address or network,"
                " 'db' is not an address or network;"
                " write it as 10.1.2.3, 10.0.0.0/8 or fd00::/8;"
                " '10.1.2.3/8' is an address inside a network;"
                " write the network as 10.0.0.0/8"
            ),
        ),
        (
            "access.suppress_path[] = a\n  /ok\naccess.suppress_path[] = /b?c",
            (
                "access.suppress_path[]: 'a' is not a path of a request,"
                " '/b?c' is not a path of a request; write it as /health, without a query string"
            ),
        ),
        (
            "environment = A=1 B=2",
            (
                'environment: a comma is missing before \'B=2\'; write the pairs as A="1",B="2",'
                " with quotes around anything but letters, digits and /.+-():_"
            ),
        ),
        ("env[A B] = 1", "env[A B]: 'A B' is no name for an environment variable"),
        (
            "user = %(ENV_NOPE)s",
            "user: %(ENV_NOPE)s: the environment has no NOPE; set it before the start",
        ),
        (
            "directory = %(foo)s",
            (
                "directory: %(foo)s is unknown; there are %(here)s and %(ENV_NAME)s,"
                " and %% is a percent sign"
            ),
        ),
        (
            "user = shop\n  group = shop",
            (
                "user: the value goes on over the next lines, because they are indented deeper;"
                " start each key at the same column"
            ),
        ),
    ],
)
def test_wrong_entry_is_named_with_what_would_be_right(line, problem):
    """Each class of error is one problem at its line, with section, key and remedy."""
    assert problems_of(POOL + line) == [f"f.conf:4: [pool:shop] {problem}"]


@pytest.mark.parametrize(
    ("app", "right"),
    [
        ("shop", "shop:app"),
        ("shop.py", "shop:app"),
        ("shop.py:main", "shop:main"),
        ("site/wsgi.py:application", "site.wsgi:application"),
        ("/srv/shop/wsgi.py", "wsgi:app"),
        ("???", "shop.wsgi:application"),
    ],
)
def test_application_named_by_its_file_comes_with_the_right_form(app, right):
    """`shop.py:app` would be the module `py` of the package `shop`, which nobody means."""
    (problem,) = problems_of(f"[pool:a]\napp = {app}\nlisten = /a\n")
    assert problem == f"f.conf:2: [pool:a] app: {app!r} is not module:callable; write it as {right}"
