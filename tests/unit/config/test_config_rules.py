"""Rules between options, between pools, and between the master and its pools."""

import pytest

from pyfpm.config import load_config
from pyfpm.errors import ConfigError


def problems_of(*lines):
    """The problems of a configuration given by its lines."""
    with pytest.raises(ConfigError) as caught:
        load_lines(*lines)
    return [str(problem) for problem in caught.value.problems]


def load_lines(*lines):
    """A configuration from lines, for a machine with two cores that is not looked at."""
    text = "\n".join(lines)
    return load_config("f", {}, is_root=False, check_system=False, cores=2, text=text)


POOL = ("[pool:a]", "app = a:b", "listen = /run/a.sock")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            ["pm.max_children = 4", "pm.min_spare_servers = 5"],
            (
                "f:5: [pool:a] pm.min_spare_servers: 5 is more than pm.max_children (4);"
                " lower it or raise that"
            ),
        ),
        (
            ["pm.max_spare_servers = 9"],
            (
                "f:4: [pool:a] pm.max_spare_servers: 9 is more than pm.max_children (4, its default"
                " here); lower it or raise that"
            ),
        ),
        (
            ["pm.min_spare_servers = 3", "pm.max_spare_servers = 2"],
            (
                "f:5: [pool:a] pm.max_spare_servers: 2 is less than pm.min_spare_servers (3);"
                " raise it or lower that"
            ),
        ),
        (
            ["pm.start_servers = 4"],
            (
                "f:4: [pool:a] pm.start_servers: 4 is not between pm.min_spare_servers (1, its"
                " default here) and pm.max_spare_servers (2, its default here); choose a number"
                " between them"
            ),
        ),
    ],
)
def test_spare_servers_that_do_not_fit_are_refused(lines, problem):
    """PHP-FPM's relations between the numbers of a dynamic pool, defaults included."""
    assert problems_of(*POOL, *lines) == [problem]


@pytest.mark.parametrize("manager", ["static", "ondemand"])
def test_spare_servers_matter_to_dynamic_pools_only(manager):
    """What a static or ondemand pool inherits from [pool-defaults] stops nothing."""
    defaults = ["[pool-defaults]", "pm.min_spare_servers = 50"]
    config = load_lines(*POOL, f"pm = {manager}", *defaults)
    assert config.notices == ()


def test_spare_servers_are_not_judged_by_a_value_that_was_refused():
    """One mistake gives one problem."""
    assert len(problems_of(*POOL, "pm.max_children = x", "pm.min_spare_servers = 50")) == 1


def test_tcp_address_open_to_others_needs_allowed_clients():
    """The message names the risk and both remedies."""
    lines = ("[pool:a]", "app = a:b", "listen = 127.0.0.1:1 0.0.0.0:9000")
    assert problems_of(*lines) == [
        (
            "f:3: [pool:a] listen: 0.0.0.0:9000 can be reached from other machines, and whoever can"
            " connect runs requests with any parameters, past the web server (FastCGI knows no"
            " password); set listen.allowed_clients, or listen on 127.0.0.1:9000"
        )
    ]
    assert load_lines(*lines, "listen.allowed_clients = 10.0.0.0/8").pools


def test_socket_path_may_be_as_long_as_the_kernel_takes():
    """107 bytes fit into sun_path, 108 do not."""
    path = "/" + "x" * 106
    assert load_lines("[pool:a]", "app = a:b", f"listen = {path}").pools
    assert problems_of("[pool:a]", "app = a:b", f"listen = {path}y") == [
        (
            f"f:3: [pool:a] listen: {path}y has 108 bytes, and a socket's path at most 107;"
            " choose a shorter one"
        )
    ]


def test_number_that_clashes_with_one_of_another_section_names_the_place_of_that():
    """The section of the refused value is named, and where the other one stands."""
    shared = ("[pool-defaults]", "pm.min_spare_servers = 3", "pm.max_spare_servers = 6")
    assert problems_of(*shared, *POOL, "pm.max_children = 4") == [
        (
            "f:3: [pool-defaults] pm.max_spare_servers: 6 is more than pm.max_children (4, f:7);"
            " lower it or raise that"
        )
    ]
    assert problems_of(*shared, *POOL, "pm.max_children = 9", "pm.start_servers = 1") == [
        (
            "f:8: [pool:a] pm.start_servers: 1 is not between pm.min_spare_servers (3, f:2) and"
            " pm.max_spare_servers (6, f:3); choose a number between them"
        )
    ]


def test_control_socket_has_room_for_the_name_under_which_it_is_made():
    """`.ctl-` and a pid of seven digits, in the same folder."""
    folder = "/" + "x" * 93
    assert load_lines("[pyfpm]", f"control = {folder}/c", *POOL).pools
    assert problems_of("[pyfpm]", f"control = {folder}x/c", *POOL) == [
        (
            f"f:2: [pyfpm] control: {folder}x is 1 byte too long for the name under which the"
            " socket is made there; choose a shorter folder"
        )
    ]


def test_two_pools_with_one_address_are_named_both():
    """However the address is written, and across pools only."""
    assert problems_of(*POOL, "[pool:b]", "app = a:b", "listen = /b unix:/run/../run/a.sock") == [
        (
            "f:6: [pool:b] listen: /run/a.sock is the address of pool a too (f:3);"
            " each pool needs its own"
        )
    ]


def test_one_address_twice_in_a_pool_is_refused():
    """It could be bound only once."""
    assert problems_of("[pool:a]", "app = a:b", "listen = 9 *:9") == [
        "f:3: [pool:a] listen: *:9 stands twice; leave one of them out"
    ]


def test_status_and_ping_need_different_paths():
    """One URL path has one answer."""
    assert problems_of(*POOL, "pm.status_path = /x", "ping.path = /x") == [
        "f:5: [pool:a] ping.path: is pm.status_path too; give each its own path"
    ]


def test_process_max_covers_the_workers_at_start():
    """Pools that do not start by themselves, and ondemand pools, need no room at the start."""
    others = (
        *("[pool:b]", "app = a:b", "listen = /b", "autostart = no", "pm.max_children = 9"),
        *("[pool:c]", "app = a:b", "listen = /c", "pm = ondemand", "pm.max_children = 9"),
    )
    pool = (*POOL, "pm = static", "pm.max_children = 4", *others)
    assert load_lines(*pool, "[pyfpm]", "process.max = 4").main.process_max == 4
    assert problems_of(*pool, "[pyfpm]", "process.max = 3") == [
        (
            "f:17: [pyfpm] process.max: 3 is less than the 4 workers that the pools start with;"
            " raise it, or lower pm.start_servers or pm.max_children"
        )
    ]


@pytest.mark.parametrize("log", ["", "error_log = stderr", "error_log = /dev/stderr"])
@pytest.mark.parametrize("by_command", [True, False])
def test_daemon_that_would_report_to_a_terminal_is_refused(log, by_command):
    """Whether the file or the command line sends it to the background."""
    text = "\n".join(["[pyfpm]", "" if by_command else "daemonize = yes", log, *POOL])
    with pytest.raises(
        ConfigError, match=r"^f:\d: \[pyfpm\] error_log: .*; set error_log to a file"
    ):
        load_config("f", {}, is_root=False, check_system=False, text=text, daemonize=by_command)


@pytest.mark.parametrize("log", ["/var/log/pyfpm.log", "syslog"])
def test_daemon_that_reports_elsewhere_is_accepted(log):
    """A file or syslog; and the foreground may use its terminal."""
    assert load_lines("[pyfpm]", "daemonize = yes", f"error_log = {log}", *POOL).main.daemonize
    assert load_lines("[pyfpm]", "error_log = stderr", *POOL).main.error_log == "stderr"


def test_settings_of_a_socket_of_systemd_have_no_effect():
    """Owner, mode and backlog stand in the unit; with an address of our own they are for that."""
    own = ("listen.owner = www-data", "listen.mode = 0600", "listen.backlog = 5")
    pool = ("[pool:a]", "app = a:b")
    notices = [str(notice) for notice in load_lines(*pool, "listen = systemd:web", *own).notices]
    assert [notice.partition("; ")[2] for notice in notices] == [
        "set SocketUser= in its unit",
        "set SocketMode= in its unit",
        "set Backlog= in its unit",
    ]
    assert not load_lines(*pool, "listen = systemd:web /run/a.sock", *own).notices
    clients = "listen.allowed_clients = 10.0.0.0/8"
    assert not load_lines(*pool, "listen = systemd:web", clients).notices


def test_socket_of_systemd_belongs_to_one_pool():
    """Two pools on one socket would take each other's requests."""
    (problem,) = problems_of(
        *("[pool:a]", "app = a:b", "listen = systemd:web"),
        *("[pool:b]", "app = a:b", "listen = systemd:web"),
    )
    assert "systemd:web is the address of pool a too (f:3)" in problem
