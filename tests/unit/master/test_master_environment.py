"""Identity and environment of a pool's processes, before anything is applied."""

import os
import pwd

import pytest
from pool_options import make_options

from pyfpm.errors import SpawnError
from pyfpm.master.identity import Identity, environment_of, resolve_identity

UNKNOWN_ID = 3_999_999_123
LISTEN = "listen = /tmp/shop.sock"
PERSON = Identity(12345, 12345, (12345,), "ann", "/home/ann", None, True)


@pytest.fixture
def environment(monkeypatch):
    """The environment that the master was started with."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SECRET_OF_ROOT", "x")
    monkeypatch.setenv("PATH", "/root/bin")
    monkeypatch.setenv("HOME", "/root")
    return monkeypatch


def test_environment_is_cleared_and_describes_the_user(tmp_path, environment):
    """Nothing of root's environment reaches the pool; the user's own facts do."""
    options = make_options(tmp_path, LISTEN, "user = 12345")
    assert environment_of(options, PERSON) == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "USER": "ann",
        "LOGNAME": "ann",
        "HOME": "/home/ann",
    }


def test_environment_of_the_master_stays_with_clear_env_off(tmp_path, environment):
    """HOME and USER still are the pool's: root's would be wrong."""
    options = make_options(tmp_path, LISTEN, "user = 12345", "clear_env = no")
    found = environment_of(options, PERSON)
    assert (found["SECRET_OF_ROOT"], found["PATH"]) == ("x", "/root/bin")
    assert (found["HOME"], found["USER"]) == ("/home/ann", "ann")


def test_environment_of_the_pool_wins(tmp_path, environment):
    """`environment` may set even HOME and PATH."""
    options = make_options(
        tmp_path, LISTEN, "user = 12345", 'environment = HOME="/srv",PATH="/opt/bin",A="1"'
    )
    found = environment_of(options, PERSON)
    assert (found["HOME"], found["PATH"], found["A"]) == ("/srv", "/opt/bin", "1")


def test_user_without_an_entry_has_no_name_and_no_home(tmp_path, environment):
    """A bare number in a container: no invented HOME."""
    options = make_options(tmp_path, LISTEN, f"user = {UNKNOWN_ID}")
    identity = resolve_identity(options, is_root=True)
    assert (identity.uid, identity.gid, identity.groups) == (UNKNOWN_ID, UNKNOWN_ID, (UNKNOWN_ID,))
    assert set(environment_of(options, identity)) == {"PATH"}


def test_user_of_the_system_brings_group_home_and_groups(tmp_path):
    """As login would set them."""
    entry = pwd.getpwnam("nobody")
    options = make_options(tmp_path, LISTEN, "user = nobody")
    identity = resolve_identity(options, is_root=True)
    assert (identity.uid, identity.gid, identity.name, identity.home) == (
        entry.pw_uid,
        entry.pw_gid,
        "nobody",
        entry.pw_dir,
    )
    assert set(identity.groups) == {*os.getgrouplist("nobody", entry.pw_gid)}


def test_group_and_extra_groups_are_added(tmp_path):
    """`group` replaces the primary one, `extra_groups` join."""
    options = make_options(
        tmp_path, LISTEN, "user = 12345", "group = 23456", "extra_groups = 34567, 45678"
    )
    identity = resolve_identity(options, is_root=True)
    assert identity.gid == 23456
    assert identity.groups == (23456, 34567, 45678)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["user = no-such-user-here"], "user 'no-such-user-here' does not exist"),
        (["user = 1", "group = no-such-group"], "group 'no-such-group' does not exist"),
        (["user = 1", "extra_groups = no-such-group"], "group 'no-such-group' does not exist"),
    ],
)
def test_unknown_names_are_refused(tmp_path, lines, message):
    """A user that was removed since the check must not become root."""
    with pytest.raises(SpawnError, match=message):
        resolve_identity(make_options(tmp_path, LISTEN, *lines), is_root=True)


def test_master_that_is_not_root_changes_nobody(tmp_path):
    """The identity keys are for root alone."""
    options = make_options(tmp_path, LISTEN, "user = nobody", "umask = 027")
    identity = resolve_identity(options, is_root=False)
    assert (identity.uid, identity.gid, identity.groups) == (None, None, ())
    assert (identity.umask, identity.no_new_privs) == (0o027, True)


def test_root_pool_without_a_user_takes_the_group_that_it_names(tmp_path):
    """Nothing that is configured is ignored without a word."""
    options = make_options(tmp_path, LISTEN, "group = 23456", "extra_groups = 34567")
    identity = resolve_identity(options, is_root=True)
    assert (identity.uid, identity.gid) == (os.geteuid(), 23456)
    assert {23456, 34567} <= set(identity.groups)


def test_root_pool_without_a_user_stays_root(tmp_path):
    """`-R` allows it."""
    identity = resolve_identity(make_options(tmp_path, LISTEN), is_root=True)
    assert (identity.uid, identity.gid) == (None, None)
