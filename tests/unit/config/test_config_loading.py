"""Whole configurations: what their values become, and what is wrong with them, with file:line."""

import os
import sys

import pytest

from pyfpm.cgi import PathInfo
from pyfpm.config import (
    AppPath,
    LogLevel,
    Preload,
    TcpAddress,
    UnixAddress,
    find_control_path,
    load_config,
    load_text,
)
from pyfpm.errors import ConfigError
from pyfpm.policy import ProcessManager

POOL = "[pool:shop]\napp = shop:app\nlisten = /run/shop.sock\n"


def load(text, environ=None, *, is_root=False, cores=4):
    """A configuration from text, without a look at this machine."""
    return load_config(
        "/etc/pyfpm/f.conf",
        environ or {},
        is_root=is_root,
        check_system=False,
        cores=cores,
        text=text,
    )


def pool_of(text, environ=None, **options):
    """The pool `shop`, from POOL and further lines."""
    return load(POOL + text, environ, **options).pools["shop"]


def problems_of(text, environ=None):
    """The problems of a text as lines, the file's name cut to its last part."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ)
    return [str(problem).removeprefix("/etc/pyfpm/") for problem in caught.value.problems]


def notices_of(text):
    """The notices of POOL and further lines."""
    return [str(notice).removeprefix("/etc/pyfpm/") for notice in load(POOL + text).notices]


def test_smallest_configuration_has_the_contracts_defaults():
    """Every default of the contract, computed ones included."""
    config = load(POOL, {"XDG_RUNTIME_DIR": "/run/user/7"})
    assert config.main.control == "/run/user/7/pyfpm/control.sock"
    assert config.main.control_mode == 0o600
    assert config.main.error_log == "stderr"
    assert config.main.log_level is LogLevel.NOTICE
    assert config.main.process_control_timeout == 30.0
    assert config.main.process_max == 0
    pool = config.pools["shop"]
    assert pool.name == "shop"
    assert pool.app == AppPath("shop", "app", "/etc/pyfpm/f.conf:2")
    assert pool.listen == (UnixAddress("/run/shop.sock"),)
    assert pool.python == sys.executable
    assert pool.directory == "/etc/pyfpm"
    assert pool.environment == ()
    assert pool.clear_env is True
    assert pool.path_info is PathInfo.AUTO
    assert pool.preload is Preload.AUTO
    assert pool.preload_idle_timeout == 600.0
    assert pool.listen_mode == 0o660
    assert pool.listen_backlog == -1
    assert pool.pm is ProcessManager.DYNAMIC
    assert (pool.pm_max_children, pool.pm_min_spare_servers) == (8, 2)
    assert (pool.pm_max_spare_servers, pool.pm_start_servers) == (4, 3)
    assert pool.pm_max_spawn_rate == 32
    assert pool.pm_process_idle_timeout == 10.0
    assert pool.pm_max_connections == 1000
    assert pool.ping_response == "pong"
    assert pool.request_buffer_size == 1 << 20
    assert pool.request_buffer_total == 64 << 20
    assert pool.keepalive_timeout == 75.0
    assert pool.user is None
    assert pool.chroot is None


@pytest.mark.parametrize(("cores", "children"), [(1, 2), (2, 4), (16, 32)])
def test_default_of_max_children_follows_the_cores(cores, children):
    """max(2, 2 x cores)."""
    assert pool_of("", cores=cores).pm_max_children == children


@pytest.mark.parametrize(
    ("children", "spare"), [(1, (1, 1, 1)), (2, (1, 1, 1)), (4, (1, 2, 1)), (40, (10, 20, 15))]
)
def test_default_spare_servers_follow_max_children(children, spare):
    """The contract's formulas, whose results always fit together."""
    pool = pool_of(f"pm.max_children = {children}")
    assert (
        pool.pm_min_spare_servers,
        pool.pm_max_spare_servers,
        pool.pm_start_servers,
    ) == spare


def test_control_socket_of_root_is_in_run():
    """A master that is root has its control socket in /run/pyfpm."""
    assert load(POOL, {}, is_root=True).main.control == "/run/pyfpm/control.sock"


def test_control_socket_without_runtime_folder_is_below_tmp():
    """Without XDG_RUNTIME_DIR it has a folder of the user's own."""
    assert load(POOL).main.control == f"/tmp/pyfpm-{os.getuid()}/control.sock"


def test_written_values_have_their_types():
    """Times are seconds, sizes bytes, modes numbers, sets enums, paths absolute."""
    pool = pool_of(
        "listen.mode = 0600\npm = static\npm.max_children = 3\nrequest_buffer_size = 64KB\n"
        "boot_timeout = 1m30s\npreload = off\nchdir = ../site\npython = venv/bin/python3\n"
        "extra_groups = a, b\nlisten.allowed_clients = \nautostart = off\nmount = /shop\n"
    )
    assert pool.listen_mode == 0o600
    assert pool.pm is ProcessManager.STATIC
    assert pool.workers_at_start == 3
    assert pool.request_buffer_size == 65536
    assert pool.boot_timeout == 90.0
    assert pool.preload is Preload.OFF
    assert pool.directory == "/etc/site"
    assert pool.python == "/etc/pyfpm/venv/bin/python3"
    assert pool.extra_groups == ("a", "b")
    assert pool.autostart is False
    assert pool.mount == "/shop"


def test_several_addresses_may_be_listened_on():
    """Blanks, commas and lines separate addresses; relative sockets start at the file."""
    text = (
        "[pool:shop]\napp = a:b\nlisten = /run/a.sock, unix:b.sock\n  127.0.0.1:9000 [::1]:9000\n"
    )
    assert load(text).pools["shop"].listen == (
        UnixAddress("/run/a.sock"),
        UnixAddress("/etc/pyfpm/b.sock"),
        TcpAddress("127.0.0.1", 9000),
        TcpAddress("::1", 9000),
    )


def test_pool_defaults_give_what_a_pool_does_not_set():
    """A pool's own value wins, wherever [pool-defaults] stands; an alias is the same option."""
    config = load(
        POOL
        + "pm.max_children = 2\ndirectory = /a\nping.path =\n"
        + "[pool:blog]\napp = blog:app\n"
        + "[pool-defaults]\npm.max_children = 5\nlisten = /run/$pool.sock\nchdir = /b\n"
        + "ping.path = /ping\n"
    )
    shop, blog = config.pools["shop"], config.pools["blog"]
    assert (shop.pm_max_children, blog.pm_max_children) == (2, 5)
    assert blog.listen == (UnixAddress("/run/blog.sock"),)
    assert (shop.directory, blog.directory) == ("/a", "/b")
    assert (shop.ping_path, blog.ping_path) == (None, "/ping")
    assert config.origin("pool:blog", "directory") == "/etc/pyfpm/f.conf:12"
    assert config.origin("pool:shop", "directory") == "/etc/pyfpm/f.conf:5"
    assert config.origin("pool:shop", "pm") == "default"


def test_environment_merges_from_the_general_to_the_particular():
    """Defaults, then the pool; `environment`, then env[NAME]; each variable knows its line."""
    config = load(
        "[pool-defaults]\nenv[A] = 1\nenv[B] = 1\nenv[C] = 1\n"
        + POOL
        + 'env[C] = 3\nenvironment = B="2",C="2",Path="x y"\n'
    )
    assert dict(config.pools["shop"].environment) == {"A": "1", "B": "2", "C": "3", "Path": "x y"}
    assert config.origin("pool:shop", "env[A]") == "/etc/pyfpm/f.conf:2"
    assert config.origin("pool:shop", "env[B]") == "/etc/pyfpm/f.conf:9"
    assert config.origin("pool:shop", "env[C]") == "/etc/pyfpm/f.conf:8"


def test_variable_may_come_from_the_masters_environment():
    """env[NAME] = $OTHER as in PHP-FPM; what only looks like it stays as written."""
    pool = pool_of(
        "env[Lang] = $LANG\nenv[P] = $pool\nenv[Q] = $LANG/x\nenv[R] = 5$\n", {"LANG": "C%%"}
    )
    assert pool.environment == (("Lang", "C%%"), ("P", "shop"), ("Q", "$LANG/x"), ("R", "5$"))


def test_variable_that_the_master_lacks_is_empty_with_a_notice():
    """PHP-FPM gives an empty value in silence; pyfpm says so."""
    config = load(POOL + "env[A] = $NOPE\n")
    assert config.pools["shop"].environment == (("A", ""),)
    assert [str(notice) for notice in config.notices] == [
        (
            "/etc/pyfpm/f.conf:4: [pool:shop] env[A]: the environment has no NOPE;"
            " the pool gets an empty value"
        )
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("%(here)s/x", "/etc/pyfpm/x"),
        ("%(ENV_A)s-%(ENV_B)s", "1-$pool%%"),
        ("100% %d %(x %{a}s %% %%(here)s", "100% %d %(x %{a}s % %(here)s"),
        ("a-$pool$pool", "a-shopshop"),
    ],
)
def test_only_the_contracts_names_are_expanded(text, value):
    """%(here)s, %(ENV_NAME)s, %% and $pool; what they give is not expanded again."""
    assert pool_of(f"ping.response = {text}", {"A": "1", "B": "$pool%%"}).ping_response == value


def test_text_without_a_file_starts_paths_from_the_current_folder():
    """What `pyfpm run` needs: a configuration from text, whose messages name it."""
    config = load_text(
        "[pool:app]\napp = a:b\nlisten = unix:x.sock\n",
        "<run>",
        {},
        is_root=False,
        check_system=False,
    )
    pool = config.pools["app"]
    assert pool.directory == os.getcwd()
    assert pool.listen == (UnixAddress(os.path.join(os.getcwd(), "x.sock")),)
    assert pool.app.origin == "<run>:2"


_SECTIONS = "There are [pyfpm], [pool-defaults], [pool:NAME] and [include]"


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
    ("text", "problems"),
    [
        ("", ["f.conf: no pool at all; add a [pool:NAME] section"]),
        (
            "[pool:a]\n",
            [
                "f.conf:1: [pool:a] app: is required; write module:callable",
                "f.conf:1: [pool:a] listen: is required; write one or several addresses",
            ],
        ),
        (
            "[pool:a]\napp = shop\nlisten = here\n",
            [
                ("f.conf:2: [pool:a] app: 'shop' is not module:callable; write it as shop:app"),
                (
                    "f.conf:3: [pool:a] listen: 'here' is no address; write /path, unix:/path,"
                    " host:port, [::1]:port or a port"
                ),
            ],
        ),
        (
            POOL + POOL,
            [
                (
                    "f.conf:4: [pool:shop]: stands twice, first at /etc/pyfpm/f.conf:1;"
                    " rename it or leave one of them out"
                )
            ],
        ),
        (
            POOL + "directory = /a\nchdir = /b\n",
            [
                (
                    "f.conf:5: [pool:shop] chdir: is another name of directory and set already at"
                    " /etc/pyfpm/f.conf:4; leave one of them out"
                )
            ],
        ),
        (
            POOL + "[pool:-x]\napp = a:b\nlisten = /x\n",
            [
                (
                    "f.conf:4: [pool:-x]: '-x' is not a pool's name: at most 63 letters, digits and"
                    " _ . -, the first a letter or digit"
                )
            ],
        ),
        (
            POOL + "[pyfpm]\nstatsd = 5\nlog_limit = 5\ncontrol = $pool\nlisten = 9\n",
            [
                "f.conf:5: [pyfpm] statsd: not supported yet; remove it",
                (
                    "f.conf:6: [pyfpm] log_limit: 5 is out of range;"
                    " write a number from 512 to 2147483647"
                ),
                (
                    "f.conf:7: [pyfpm] control: $pool is the name of a pool and means nothing"
                    " outside of one"
                ),
                "f.conf:8: [pyfpm] listen: stands in the wrong section; it belongs in [pool:NAME]",
            ],
        ),
        (
            "[pool-defaults]\npm = fast\n" + POOL + "[pool:b]\napp = a:b\nlisten = /b\n",
            ["f.conf:2: [pool-defaults] pm: 'fast' is not one of static, dynamic, ondemand"],
        ),
    ],
)
def test_wrong_section_is_named_with_what_would_be_right(text, problems):
    """Problems of sections and of several entries, all at once and in the order of the file."""
    assert problems_of(text) == problems


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("www", "pool:www"),
        ("pyfmp", "pyfpm"),
        ("global", "pyfpm"),
        ("DEFAULT", "pool-defaults"),
        ("pool-default", "pool-defaults"),
        ("includes", "include"),
        ("pol:shop", "pool:shop"),
    ],
)
def test_unknown_section_is_refused_with_a_guess(name, guess):
    """The guess is what the writer most likely meant."""
    assert problems_of(f"{POOL}[{name}]\nx = 1\n") == [
        f"f.conf:4: [{name}]: unknown section, did you mean [{guess}]? {_SECTIONS}"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "program:x",
        "fcgi-program:x",
        "group:x",
        "supervisord",
        "unix_http_server",
        "inet_http_server",
        "inet_http_server:two",
        "supervisorctl",
        "rpcinterface:supervisor",
    ],
)
def test_supervisors_sections_are_refused_as_a_whole(name):
    """One problem for the section, none for its keys."""
    assert problems_of(f"{POOL}[{name}]\ncommand = x\n") == [
        f"f.conf:4: [{name}]: supervisor's sections are not supported yet; remove it"
    ]


def test_event_listeners_are_refused_for_good():
    """There are no events to listen to."""
    assert problems_of(f"{POOL}[eventlistener:x]\ncommand = x\n") == [
        (
            "f.conf:4: [eventlistener:x]: pyfpm has no events to listen to and will have none;"
            " let supervisor run this section"
        )
    ]


def test_file_that_cannot_be_read_is_a_problem_of_its_own(tmp_path):
    """A missing file and a folder give the reason, and nothing else."""
    for path, reason in (
        (f"{tmp_path}/none.conf", "no such file or directory"),
        (str(tmp_path), "is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(path, {}, is_root=False)
        assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_all_problems_come_at_once_in_the_order_of_the_file():
    """The form, the keys, the values and the rules are all checked before anything is reported."""
    lines = [
        "k = v",
        "[pyfpm]",
        "junk",
        "log_level = loud",
        "[pool:a]",
        "app = nonsense",
        "listen = 0.0.0.0:9000",
        "pm.min_spare_servers = 99",
        "pm.max_children = 4",
        "bogus = 1",
    ]
    numbers = [line.split(":")[1] for line in problems_of("\n".join(lines))]
    assert numbers == ["1", "3", "4", "6", "7", "8", "10"]


def test_notice_of_keepalive_max_requests_says_what_it_costs():
    """Anything but 0 closes connections under the web server's hands."""
    assert notices_of("keepalive_max_requests = 0") == []
    assert notices_of("keepalive_max_requests = 500") == [
        (
            "f.conf:4: [pool:shop] keepalive_max_requests: closing kept connections costs POSTs:"
            " the web server may just be sending the next request, and does not repeat it; write 0"
        )
    ]


def test_settings_without_effect_are_noticed():
    """A pool's own keys that its process manager or listener never looks at."""
    assert notices_of(
        "pm = static\npm.max_children = 2\npm.start_servers = 1\npm.process_idle_timeout = 5s\n"
        "listen.allowed_clients = 10.0.0.1\n"
    ) == [
        "f.conf:6: [pool:shop] pm.start_servers: has no effect with pm = static",
        "f.conf:7: [pool:shop] pm.process_idle_timeout: has no effect with pm = static",
        (
            "f.conf:8: [pool:shop] listen.allowed_clients: has no effect without a TCP address in"
            " listen; for a Unix socket set listen.group and listen.mode, or listen.allowed_users"
        ),
    ]


def test_a_file_with_mistakes_still_says_where_its_master_answers(tmp_path):
    """While somebody edits a pool, `status` and `stop` still find the running master."""
    path = tmp_path / "pyfpm.conf"
    path.write_text("[pyfpm]\ncontrol = here.sock\nunknown = 1\n[pool:a]\napp = broken\njunk\n")
    assert find_control_path(str(path), {}, is_root=True) == str(tmp_path / "here.sock")


def test_a_mistake_in_control_itself_is_reported(tmp_path):
    """Where the master answers cannot be guessed from a value that says nothing."""
    path = tmp_path / "pyfpm.conf"
    path.write_text("[pyfpm]\ncontrol = %(ENV_NOT_SET)s/here.sock\n")
    with pytest.raises(ConfigError, match=r"pyfpm.conf:2: \[pyfpm\] control"):
        find_control_path(str(path), {}, is_root=True)


def test_a_file_that_cannot_be_read_is_reported(tmp_path):
    """No file, no answer."""
    with pytest.raises(ConfigError):
        find_control_path(str(tmp_path / "nowhere.conf"), {}, is_root=True)


def test_problem_that_shows_in_use_stands_where_the_value_was_set():
    """In [pool-defaults] with the pool's name, or in the pool; at its header for a default."""
    config = load("[pool-defaults]\nslowlog = /slow\nenv[A] = 1\n" + POOL + "pm = static\n")
    found = [
        str(config.problem("pool:shop", key, "no")) for key in ("slowlog", "env[A]", "pm", "user")
    ]
    assert found == [
        "/etc/pyfpm/f.conf:2: [pool-defaults] slowlog: in pool shop: no",
        "/etc/pyfpm/f.conf:3: [pool-defaults] env[A]: in pool shop: no",
        "/etc/pyfpm/f.conf:7: [pool:shop] pm: no",
        "/etc/pyfpm/f.conf:4: [pool:shop] user: no",
    ]


@pytest.mark.parametrize(
    ("header", "guess"),
    [
        ("PYFPM", "pyfpm"),
        ("Pool-Defaults", "pool-defaults"),
        ("Pool:x", "pool:x"),
        ("pools:x", "pool:x"),
        ("pool", "pool:NAME"),
        ("pools", "pool:pools"),
        ("includes", "include"),
        ("www", "pool:www"),
        ("global", "pyfpm"),
    ],
)
def test_section_that_is_unknown_comes_with_the_one_that_was_meant(header, guess):
    """Other spellings and the names of PHP-FPM."""
    (problem,) = problems_of(f"[{header}]\n" + POOL)
    assert problem.startswith(f"f.conf:1: [{header}]: unknown section, did you mean [{guess}]? ")


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


def test_include_of_php_fpm_comes_with_the_section():
    """Before any section, where PHP-FPM has it."""
    (problem,) = problems_of("include=pools.d/*.conf\n" + POOL)
    assert problem == (
        "f.conf:1: include stands before any section;"
        " write [include], and below it files = pools.d/*.conf"
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_file_in_utf_16_is_one_problem(tmp_path, encoding):
    """Not one for every line."""
    file = tmp_path / "f.conf"
    file.write_bytes(("\ufeff" + POOL).encode(encoding))
    with pytest.raises(ConfigError) as caught:
        load_config(str(file), {}, is_root=False, check_system=False)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{file}:1: the file is UTF-16; save it as UTF-8"
    ]
