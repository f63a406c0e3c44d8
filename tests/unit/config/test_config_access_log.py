"""The options of the access log: where it goes, how a line looks, and which requests get none."""

import pytest

from pyfpm.config import load_text, restore_pool, snapshot_options
from pyfpm.errors import ConfigError
from pyfpm.observe import DEFAULT_FORMAT

POOL = "[pool:shop]\napp = shop:app\nlisten = /run/shop.sock\n"


def load(lines, main=""):
    text = f"{main}\n{POOL}{lines}"
    return load_text(text, "/etc/pyfpm/f.conf", {}, is_root=True, check_system=False)


def pool_of(lines):
    return load(lines).pools["shop"]


def test_there_is_no_access_log_unless_it_is_set():
    """As in PHP-FPM, whose format is the default one."""
    pool = pool_of("")
    assert (pool.access_log, pool.access_suppress_path) == (None, ())
    assert pool.access_format == DEFAULT_FORMAT


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("access.log", "/etc/pyfpm/access.log"),
        ("/var/log/$pool.log", "/var/log/shop.log"),
        ("stdout", "stdout"),
        ("STDERR", "stderr"),
        ("/dev/stdout", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ],
)
def test_target_is_a_file_or_the_masters_output(text, target):
    """Images of PHP-FPM write /proc/self/fd/2, which is a link that no log is opened through."""
    assert pool_of(f"access.log = {text}\n").access_log == target


def test_format_needs_no_doubled_percent_signs():
    """Only %(name)s and %% mean something else in a file."""
    line = "access.format = %R %{HTTP_HOST}e %% %%%% %(here)s\n"
    with pytest.raises(ConfigError, match="'% ' is no placeholder"):
        pool_of(line)
    line = "access.format = %R %{HTTP_HOST}e %%%% %(here)s\n"
    assert pool_of(line).access_format == "%R %{HTTP_HOST}e %% /etc/pyfpm"


def test_unknown_placeholder_is_named_with_file_line_and_key():
    """The operator finds it where it was written, even in a pool that has no log yet."""
    with pytest.raises(ConfigError) as caught:
        pool_of("access.format = %R %w\n")
    problem = "/etc/pyfpm/f.conf:5: [pool:shop] access.format: '%w' is no placeholder"
    assert str(caught.value).startswith(problem)


def test_suppressed_paths_add_up():
    """A line each; they may hold blanks."""
    pool = pool_of("access.suppress_path[] = /ping\naccess.suppress_path[] = /a b\n")
    assert pool.access_suppress_path == ("/ping", "/a b")


@pytest.mark.parametrize("path", ["ping", "/ping?full", "http://x/"])
def test_suppressed_path_that_can_never_match_is_refused(path):
    """Lines with a query string are always written."""
    with pytest.raises(ConfigError, match="is not a path of a request"):
        pool_of(f"access.suppress_path[] = {path}\n")


@pytest.mark.parametrize("option", ["access.format = %m", "access.suppress_path[] = /ping"])
def test_option_without_a_log_gets_a_word(option):
    """Not an error, for the log may be switched off for a while."""
    (notice,) = load(f"{option}\n").notices
    assert "has no effect without access.log" in str(notice)
    assert not load(f"{option}\naccess.log = a.log\n").notices


@pytest.mark.parametrize("target", ["stdout", "stderr"])
def test_output_of_a_master_in_the_background_is_refused(target):
    """It leads to /dev/null there."""
    with pytest.raises(ConfigError, match=f"in the background has no {target}; name a file"):
        load(f"access.log = {target}\n", "[pyfpm]\nerror_log = e.log\ndaemonize = yes\n")


def test_options_survive_an_upgrade():
    """They are handed on as texts."""
    pool = pool_of(
        "access.log = a b.log\naccess.format = %r %{%F}t\naccess.suppress_path[] = /a\n"
        "access.suppress_path[] = /b c\n"
    )
    assert restore_pool("shop", snapshot_options(pool)) == pool
