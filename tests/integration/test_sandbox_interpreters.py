"""Interpreters in a sandbox: a venv of another user, and versions with a prefix of their own."""

import glob
import os
import pwd
import shutil
import sys

import pytest
from harness.machine import needs_sandbox
from harness.master import Pyfpm
from harness.sandbox_app import FILES, Site, pool

pytestmark = needs_sandbox


def test_venv_in_another_users_home_serves(as_root):
    """Modes let the pool's user read it; its base interpreter lies somewhere else again."""

    def prepare(folder):
        home = folder / "home"
        (home / "base/bin").mkdir(parents=True)
        python = os.path.realpath(sys.executable)
        shutil.copy(python, home / "base/bin/python3.11")
        prefix = os.path.dirname(os.path.dirname(python))
        (home / "base/lib").symlink_to(os.path.join(prefix, "lib"))
        (home / "venv/bin").mkdir(parents=True)
        (home / "venv/bin/python").symlink_to(home / "base/bin/python3.11")
        (home / "venv/pyvenv.cfg").write_text(f"home = {home}/base/bin\n")
        site = home / "venv/lib/python{}.{}/site-packages".format(*sys.version_info[:2])
        site.mkdir(parents=True)
        (site / "only_here.py").write_text("")
        games = pwd.getpwnam("games")
        for path in [home, *home.rglob("*")]:
            os.chown(path, games.pw_uid, games.pw_gid, follow_symlinks=False)

    lines = pool("sandbox = on", "python = %(here)s/home/venv")
    with Pyfpm(lines, files=FILES, prepare=prepare) as fpm:
        site = Site(fpm, "a")
        assert site.attempt("import", "only_here").startswith(f"{fpm.folder}/home/venv/lib/")
        assert site.attempt("list", fpm.folder / "home") == "EACCES"


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_newer_interpreter_with_a_standard_library_of_its_own_serves(version):
    """Neither in /usr nor in a venv: its prefix is found from where it lies."""
    found = sorted(glob.glob(f"/root/.pyenv/versions/{version}.*/bin/python{version}"))
    if not found or os.getuid():
        pytest.skip(f"no Python {version}")
    lines = pool("sandbox = on", f"python = {found[0]}")
    with Pyfpm(lines, files=FILES, defaults="user =", arguments=["-R"]) as fpm:
        site = Site(fpm, "a")
        assert site.attempt("read", "/etc/shadow") == "EACCES"  # though it is root
        assert site.attempt("modules") == "image/png"
        assert site.attempt("import", "json").startswith(os.path.dirname(found[0])[:-4])
