"""What `pyfpm check --dump` prints is a configuration: it means the same, and says no more."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.config import load_config, render_dump
from pyfpm.config.expansion import expand, protect
from pyfpm.config.source import Entry

REPOSITORY = Path(__file__).parents[3]
SHIPPED = [
    "pyfpm.conf",
    "pools.d/hello.conf",
    "pools.d/tcp.conf",
    "pools.d/django.conf",
    "pools.d/ondemand.conf",
    "scripts/all-pools.conf",
]
VARIABLES = """\
[pool:a]
app = a:b
listen = /run/a.sock
environment = PATTERN="$HOME",TEXT="one
  two",PLAIN="x"
env[FORMAT] = %%(levelname)s %%%% 100%
access.log = /var/log/a.log
access.format = %m %%%%
"""
BARE = "[pool:a]\napp = a:b\nlisten = /run/a.sock\n"
EVERYTHING = """\
[pyfpm]
pid = /run/pyfpm.pid
error_log = syslog
process.max = 100
rlimit_files = 2048
[pool-defaults]
user = www-data
pm.max_children = 8
environment = LANG="C.UTF-8",PLACE="a, b"
[pool:shop]
app = shop:app
directory = /srv/shop
listen = /run/shop.sock 127.0.0.1:9000
listen.allowed_clients = 127.0.0.1, 10.0.0.0/8
listen.allowed_users = www-data
pm = dynamic
pm.start_servers = 2
pm.max_memory = 512M
pm.max_memory_hard = 256M
env[KEY] = %%100 $
request_terminate_timeout = 5s
request_slowlog_timeout = 10s
slowlog = /var/log/shop.slow
access.log = /var/log/shop.access
access.format = "%m %r%Q%q" %s
access.suppress_path[] = /health
access.suppress_path[] = /ready
keepalive_max_requests = 5
sandbox = best-effort
sandbox.read = /srv/media "/srv/a b"
sandbox.write = /srv/data
sandbox.execute = /usr/bin/env
rlimit_core = unlimited
process.dumpable = yes
[pool:idle]
app = a:b
listen = /run/idle.sock
pm = ondemand
pm.process_idle_timeout = 3s
"""
IGNORED = """\
[pool:a]
app = a:b
listen = /run/a.sock
pm = static
pm.start_servers = 2
pm.process_idle_timeout = 5s
listen.allowed_clients = 10.0.0.1
access.format = combined
access.suppress_path[] = /health
access.suppress_path[] = /ready
rlimit_core = unlimited
sandbox = off
sandbox.read = /srv
"""
SYSTEMD = """\
[pool:a]
app = a:b
listen = systemd:web
listen.mode = 0666
"""
# All of this is set for the other pools that there may be.
INHERITED = """\
[pool-defaults]
listen.allowed_clients = 10.0.0.1
listen.allowed_users = www-data
pm.start_servers = 3
pm.min_spare_servers = 2
pm.max_spare_servers = 5
pm.process_idle_timeout = 5s
access.format = combined
access.suppress_path[] = /health
access.suppress_path[] = /ready
rlimit_core = unlimited
sandbox.read = /srv
[pool:unix]
app = a:b
listen = /run/a.sock
pm = static
sandbox = off
[pool:tcp]
app = a:b
listen = 127.0.0.1:9000
pm = ondemand
sandbox = off
"""


def load(path, text=None, *, is_root=True, check_system=False):
    return load_config(
        path, {}, is_root=is_root, check_system=check_system, cores=2, allow_root=True, text=text
    )


def again(config, **options):
    """The configuration that is in the dump of another."""
    return load(config.path, render_dump(config), **options)


def told(config):
    """What its notices say, wherever."""
    return {(notice.key, notice.message) for notice in config.notices}


def values(config):
    """Every value that is in effect; a dump has the lines of its own for `app`."""
    pools = {
        name: dataclasses.replace(pool, app=dataclasses.replace(pool.app, origin=""))
        for name, pool in config.pools.items()
    }
    return config.main, pools


@pytest.mark.parametrize("path", SHIPPED)
def test_dump_of_a_shipped_configuration_gives_no_notice_that_it_did_not_give(path):
    """Read as a file alone, whatever the machine."""
    config = load(str(REPOSITORY / path))
    assert told(again(config)) == told(config)
    assert values(again(config)) == values(config)


@pytest.mark.parametrize("path", SHIPPED[:3])
def test_dump_gives_no_more_notices_of_the_machine_either(path):
    """As a user whose pool cannot have all that it names."""
    config = load(str(REPOSITORY / path), is_root=False, check_system=True)
    assert told(config)
    assert told(again(config, is_root=False, check_system=True)) == told(config)


@pytest.mark.parametrize(
    ("text", "count"),
    [(BARE, 0), (EVERYTHING, 4), (IGNORED, 7), (SYSTEMD, 1), (INHERITED, 0), (VARIABLES, 0)],
    ids=["bare", "everything", "ignored", "systemd", "inherited", "variables"],
)
def test_dump_gives_the_notices_of_its_configuration_and_no_more(text, count):
    """What a pool sets itself in vain is mentioned still, defaults and inherited values are not."""
    config = load("f", text)
    assert len(config.notices) == count
    assert told(again(config)) == told(config)


@pytest.mark.parametrize("text", [BARE, EVERYTHING, IGNORED, SYSTEMD, VARIABLES])
def test_dump_means_what_its_configuration_means(text):
    """Every value, also where it is nobody's but the default."""
    config = load("f", text)
    assert values(again(config)) == values(config)


def test_slow_log_that_only_extended_requests_reach_keeps_its_value():
    """It has an effect, if on few requests; so it is written out, at the price of its notice."""
    limits = (
        "[pool-defaults]\nrequest_slowlog_timeout = 9s\n[pool:b]\napp = a:b\nlisten = /run/b.sock"
    )
    config = load("f", f"{BARE}request_terminate_timeout = 5s\n{limits}")
    assert config.notices == ()
    assert values(again(config)) == values(config)
    assert {key for key, _ in told(again(config))} == {"request_slowlog_timeout"}


def test_value_without_effect_is_a_comment_that_says_why():
    """It is to be seen, with where it comes from; each line of it is a comment."""
    lines = [" ".join(line.split()) for line in render_dump(load("f", INHERITED)).splitlines()]
    assert "; pm.start_servers = 3 ; f:4, has no effect with pm = static" in lines
    assert "pm.max_children = 4 ; default" in lines
    first = lines.index("; access.suppress_path[] = /health")
    assert lines[first + 1] == "; /ready ; f:9, has no effect without access.log"


@given(st.text("%()sENV_a", max_size=12))
def test_what_is_protected_is_not_filled_in(text):
    """A percent sign stands for itself, whatever follows it."""
    assert expand(Entry("pool:a", "key", protect(text), "f", 1), {}, "a") == text
