"""The table of options: complete, consistent, and the same in the docs, the dump and the sample."""

import dataclasses
from pathlib import Path

import pytest

from pyfpm.config import (
    MAIN,
    POOL,
    find_option,
    load_config,
    render_dump,
    render_option,
    render_reference,
    render_sample,
)
from pyfpm.config.options.option import Reload
from pyfpm.errors import ConfigError

MAIN_SUPPORTED = [
    "pid",
    "error_log",
    "log_level",
    "log_format",
    "log_limit",
    "control",
    "control.owner",
    "control.group",
    "control.mode",
    "daemonize",
    "process_control_timeout",
    "process.max",
    "emergency_restart_threshold",
    "emergency_restart_interval",
    "process.priority",
    "rlimit_files",
    "rlimit_core",
]
MAIN_PLANNED = [
    "statsd",
    "statsd_prefix",
    "statsd_interval",
]
POOL_SUPPORTED = [
    "app",
    "interface",
    "python",
    "directory",
    "chdir",
    "environment",
    "env[NAME]",
    "clear_env",
    "mount",
    "path_info",
    "isolation",
    "autostart",
    "priority",
    "preload",
    "preload.idle_timeout",
    "boot_timeout",
    "user",
    "group",
    "extra_groups",
    "umask",
    "chroot",
    "process.priority",
    "process.dumpable",
    "process.oom_score_adj",
    "process.cpu_affinity",
    "rlimit_files",
    "rlimit_core",
    "rlimit_as",
    "rlimit_nproc",
    "no_new_privs",
    "listen",
    "listen.backlog",
    "listen.owner",
    "listen.group",
    "listen.mode",
    "listen.allowed_clients",
    "listen.allowed_users",
    "pm",
    "pm.max_children",
    "pm.min_spare_servers",
    "pm.max_spare_servers",
    "pm.start_servers",
    "pm.max_spawn_rate",
    "pm.process_idle_timeout",
    "pm.threads",
    "pm.max_connections",
    "pm.minder",
    "pm.status_path",
    "ping.path",
    "ping.response",
    "pm.max_requests",
    "pm.max_requests_jitter",
    "pm.max_lifetime",
    "pm.max_memory",
    "pm.max_memory_hard",
    "pm.reload_surge",
    "pm.drain_timeout",
    "request_terminate_timeout",
    "request_terminate_grace",
    "recycle_after_timeout",
    "request_slowlog_timeout",
    "slowlog",
    "request_slowlog_trace_depth",
    "worker_hung_timeout",
    "request_queue_timeout",
    "request_buffer_size",
    "request_buffer_total",
    "request_max_body",
    "request_max_params",
    "request_header_timeout",
    "request_body_timeout",
    "response_write_timeout",
    "keepalive_timeout",
    "keepalive_max_requests",
    "sandbox",
    "sandbox.read",
    "sandbox.write",
    "sandbox.execute",
    "catch_workers_output",
    "decorate_workers_output",
    "access.log",
    "access.format",
    "access.suppress_path[]",
]
POOL_PLANNED = [
    "worker_script",
    "script_root",
    "security.limit_extensions",
    "command",
    "environment_file",
    "pm.concurrency",
    "pm.status_listen",
    "stdout_logfile",
    "stderr_logfile",
    "stdout_logfile_maxbytes",
    "stdout_logfile_backups",
]

TABLE = [
    (scope, field, option) for scope in (MAIN, POOL) for field, option in scope.by_field.items()
]
IDS = [f"{scope.section}{option.name}" for scope, _, option in TABLE]

TEXT = """\
[pyfpm]
process.max = 9   ; a comment
[pool-defaults]
pm = static
[pool:shop]
app = shop:app
listen = /run/shop.sock 127.0.0.1:9000
chdir = /srv
env[A] = 1 2
"""


def load(text):
    """A configuration that is not checked against this machine."""
    return load_config("f", {}, is_root=True, check_system=False, cores=1, text=text)


def test_every_key_of_the_contract_is_in_the_table():
    """No more, no less, and planned exactly where nothing is built."""
    for scope, supported, planned in (
        (MAIN, MAIN_SUPPORTED, MAIN_PLANNED),
        (POOL, POOL_SUPPORTED, POOL_PLANNED),
    ):
        built = [name for name, option in scope.by_any_name.items() if not option.planned]
        later = [name for name, option in scope.by_any_name.items() if option.planned]
        assert sorted(built) == sorted(supported)
        assert sorted(later) == sorted(planned)


@pytest.mark.parametrize(("scope", "field", "option"), TABLE, ids=IDS)
def test_field_is_named_as_its_key(scope, field, option):
    """Dots become underscores, and nothing else changes."""
    assert option.name.replace(".", "_").removesuffix("[]") == field


@pytest.mark.parametrize(("scope", "field", "option"), TABLE, ids=IDS)
def test_option_says_what_it_is(scope, field, option):
    """Help in a sentence, a reload rule, a version, and at most one way to a default."""
    assert option.help[0].isupper() or option.help[0] == "`"
    assert option.help.endswith(".")
    assert isinstance(option.reload, Reload)
    assert option.since
    assert bool(option.required) + bool(option.computed) + (option.default is not None) <= 1


@pytest.mark.parametrize(
    ("scope", "option"),
    [(scope, option) for scope, _, option in TABLE if option.default is not None],
    ids=lambda value: getattr(value, "name", ""),
)
def test_default_reads_back_as_it_is_written(scope, option):
    """A default is a text that the option itself would accept, and format inverts it."""
    value = option.default_value
    assert option.kind.parse(option.kind.format(value)) == value


def test_options_are_frozen_and_have_slots():
    """A configuration cannot be changed, nor get a field by a misprint."""
    config = load(TEXT)
    for options, field in ((config.main, "pid"), (config.pools["shop"], "user")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, field, "x")
        assert not hasattr(options, "__dict__")


@pytest.mark.parametrize(
    ("scope", "option"),
    [(scope, option) for scope, _, option in TABLE if option.planned],
    ids=lambda value: getattr(value, "name", ""),
)
def test_planned_option_is_refused_and_never_has_a_value(scope, option):
    """Not accepted and ignored."""
    text = f"[pyfpm]\n{option.name} = 1\n" if scope is MAIN else f"{TEXT}\n{option.name} = 1\n"
    with pytest.raises(ConfigError, match="not supported yet; remove it"):
        load(text)
    config = load(TEXT)
    field = option.name.replace(".", "_").removesuffix("[]")
    assert getattr(config.main if scope is MAIN else config.pools["shop"], field) is None


def test_option_is_found_by_name_alias_and_pattern():
    """A name may exist in both kinds of section."""
    assert [scope for scope, _ in find_option("rlimit_files")] == [MAIN, POOL]
    assert [option.name for _, option in find_option("chdir")] == ["directory"]
    assert [option.name for _, option in find_option("env[PATH]")] == ["environment"]
    assert find_option("bogus") == ()


def test_option_in_words_says_value_and_default():
    """What `pyfpm options NAME` prints."""
    ((scope, option),) = find_option("pm.max_spawn_rate")
    assert render_option(scope, option) == (
        "pm.max_spawn_rate   in [pool:NAME]\nvalue:   number from 1\ndefault: 32\n\n"
        "The most workers that the pool starts within one second.\n"
    )
    ((scope, option),) = find_option("environment_file")
    assert render_option(scope, option).splitlines()[1] == "not supported yet"


def test_dump_shows_every_value_with_its_origin():
    """A line an option, from files, from [pool-defaults], from the table; planned ones marked."""
    lines = {" ".join(line.split()) for line in render_dump(load(TEXT)).splitlines()}
    assert {
        "[pyfpm] ; f:1",
        "process.max = 9 ; f:2",
        "control = /run/pyfpm/control.sock ; default",
        "; statsd: not supported yet",
        "[pool:shop] ; f:5",
        "pm = static ; f:4",
        "listen = /run/shop.sock 127.0.0.1:9000 ; f:7",
        "directory = /srv ; f:8",
        "env[A] = 1 2 ; f:9",
        "pm.max_children = 2 ; default",
        "user = ; default",
        "listen.mode = 0660 ; default",
        "; environment_file: not supported yet",
    } <= lines
    names = {line.lstrip("; ").partition(":")[0].partition(" =")[0] for line in lines}
    assert not {option.name for _, _, option in TABLE} - names - {"environment"}


def test_reference_page_is_up_to_date():
    """docs/reference/options.md is what the table says; write render_reference() there if not."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "options.md"
    assert page.read_text(encoding="utf-8") == render_reference()


def test_reference_page_has_every_option_and_alias():
    """Planned ones are marked."""
    page = render_reference()
    for _, _, option in TABLE:
        for name in (option.name, *option.aliases):
            assert f"`{name}`" in page
    assert "| `environment_file` | | | *Not supported yet.*" in page


def test_sample_is_right_as_it_is_and_with_every_default_written_out():
    """`pyfpm init` writes a file that loads, whichever comments are taken away."""
    sample = render_sample().replace("files = pools.d/*.conf", "files = none/*.conf")
    pool = "[pool:shop]\napp = shop:app\nlisten = /run/shop.sock\n"
    plain = load(sample + pool)
    settings = [
        line[1:] if line.startswith(";") and not line.startswith("; ") else line
        for line in sample.splitlines()
    ]
    written = load("\n".join(settings) + "\n" + pool)
    assert written.main == plain.main
    origin = f"f:{len(settings) + 2}"
    app = dataclasses.replace(written.pools["shop"].app, origin=origin)
    assert dataclasses.replace(plain.pools["shop"], app=app) == written.pools["shop"]
    assert len(plain.notices) == 1
