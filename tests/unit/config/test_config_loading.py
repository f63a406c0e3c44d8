"""Whole configurations: what their values become, what is noticed, and where a master answers."""

import os
import sys

import pytest
from config_text import POOL, load, notices_of, pool_of

from pyfpm.cgi import PathInfo
from pyfpm.config import (
    AppPath,
    LogLevel,
    Preload,
    TcpAddress,
    UnixAddress,
    find_control_path,
    load_text,
)
from pyfpm.errors import ConfigError
from pyfpm.policy import ProcessManager


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
