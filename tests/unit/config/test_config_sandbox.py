"""The keys of the sandbox: lists of paths, what switches it on, and what it needs."""

import pytest

from pyfpm.config import POOL as POOL_SCOPE
from pyfpm.config import Sandbox, load_config
from pyfpm.config.draft import Draft
from pyfpm.config.equipment import notice_pool
from pyfpm.config.source import Section
from pyfpm.errors import ConfigError
from pyfpm.kernel.landlock import Scope, Support, known_access

POOL = ("[pool:a]", "app = a:b", "listen = /run/a.sock")


def load(*lines, path="/etc/pyfpm/pyfpm.conf", check_system=False):
    text = "\n".join([*POOL, *lines])
    return load_config(path, {}, is_root=False, check_system=check_system, cores=1, text=text)


def pool_of(*lines):
    return load(*lines).pools["a"]


@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        ([], Sandbox.OFF),
        (["sandbox.read ="], Sandbox.OFF),
        (["sandbox = on"], Sandbox.ON),
        (["sandbox.read = /srv"], Sandbox.ON),
        (["sandbox.write = /srv"], Sandbox.ON),
        (["sandbox.execute = /bin/true"], Sandbox.ON),
        (["sandbox.read = /srv", "sandbox = best-effort"], Sandbox.BEST_EFFORT),
        (["sandbox.read = /srv", "sandbox = off"], Sandbox.OFF),
    ],
)
def test_sandbox_is_on_where_a_list_is_set(lines, mode):
    """Unless the pool says otherwise."""
    assert pool_of(*lines).sandbox is mode


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("/srv/a /srv/b", ("/srv/a", "/srv/b")),
        ("/srv/a,/srv/b, /srv/c", ("/srv/a", "/srv/b", "/srv/c")),
        ("/srv/a\n  /srv/b", ("/srv/a", "/srv/b")),
        ('"/srv/a b, c" /srv/d', ("/srv/a b, c", "/srv/d")),
        ("media ../shared/./x", ("/etc/pyfpm/media", "/etc/shared/x")),
        ("/srv/$pool %(here)s/x", ("/srv/a", "/etc/pyfpm/x")),
        ("/srv/a /srv/a/", ("/srv/a",)),
        ("", ()),
    ],
)
def test_paths_are_listed_as_one_would_write_them(text, paths):
    """Blanks, commas or lines between them; relative to the file; each once."""
    assert pool_of(f"sandbox.read = {text}").sandbox_read == paths


@pytest.mark.parametrize("text", ['"/srv/a', '"/srv/a"/b', '/srv/a"b', '""'])
def test_quotes_that_do_not_close_are_refused(text):
    """Otherwise half of a path would be opened."""
    with pytest.raises(ConfigError, match="is no list of paths; separate them by blanks"):
        load(f"sandbox.read = {text}")


@pytest.mark.parametrize("lines", [["sandbox = on"], ["sandbox.write = /srv"]])
def test_sandbox_needs_no_new_privs(lines):
    """The kernel's own condition for everybody but root."""
    with pytest.raises(ConfigError) as caught:
        load(*lines, "no_new_privs = no")
    assert str(caught.value) == (
        "/etc/pyfpm/pyfpm.conf:5: [pool:a] no_new_privs: a sandbox needs it, or a set-user-id"
        " program would lead out; write yes, or set sandbox = off"
    )
    assert not load("sandbox = off", "no_new_privs = no").pools["a"].no_new_privs


def test_list_without_a_sandbox_is_mentioned():
    """Somebody believes to be protected."""
    notices = load("sandbox = off", "sandbox.write = /srv").notices
    assert [str(notice) for notice in notices] == [
        "/etc/pyfpm/pyfpm.conf:5: [pool:a] sandbox.write: has no effect with sandbox = off"
    ]
    assert not load("sandbox = on", "sandbox.write = /srv").notices


@pytest.mark.parametrize("key", ["sandbox.read", "sandbox.write", "sandbox.execute"])
def test_listed_path_that_does_not_exist_is_refused_with_its_line(tmp_path, key):
    """A rule can be made only for what is there."""
    path = str(tmp_path / "pyfpm.conf")
    python = "python = /usr/bin/python3"
    with pytest.raises(ConfigError) as caught:
        load(python, f"{key} = . nowhere", path=path, check_system=True)
    wrong = f"{path}:5: [pool:a] {key}: {tmp_path}/nowhere does not exist; create it or leave it"
    assert wrong in str(caught.value)
    assert str(caught.value).count(key) == 1


OLD = Support(2, known_access(2), Scope(0))
NEW = Support(7, known_access(7), Scope.every())


@pytest.mark.parametrize(
    ("mode", "support", "words"),
    [
        ("best-effort", OLD, "goes without what this kernel does not restrict: truncating files"),
        ("best-effort", NEW, ""),
        ("on", OLD, ""),
        ("off", OLD, ""),
    ],
)
def test_best_effort_says_what_it_goes_without(mode, support, words):
    """One notice; where the pool insists, its own boot says it, and other pools start."""
    draft = Draft(POOL_SCOPE, Section("pool:a", "f", 1), "a")
    found = [str(notice) for notice in notice_pool(draft, pool_of(f"sandbox = {mode}"), support)]
    assert len(found) == bool(words)
    assert not words or found[0].startswith(f"f:1: [pool:a] sandbox: {words}")
