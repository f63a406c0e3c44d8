"""A tenant who closes or removes its own folder harms its own pool, and nobody else's.

At the next start of the machine all other sites must come up, and deploys of the others go on.
"""

import os
import pwd
import shutil
import stat

import pytest
from harness.fcgi_client import fetch
from harness.machine import POOL_USER, wait_until
from harness.master import Pyfpm, run_pyfpm

APPLICATION = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{said}"]
"""
POOLS = """
[pool:own]
app = shop:application
directory = %(here)s/home/site
listen = %(here)s/own.sock
pm = static
pm.max_children = 1

[pool:other]
app = other:application
listen = %(here)s/other.sock
pm = static
pm.max_children = 1
"""

pytestmark = pytest.mark.usefixtures("as_root")


def make_home(folder):
    """The home of the tenant, with its site."""
    home = folder / "home"
    (home / "site").mkdir(parents=True)
    (home / "site" / "shop.py").write_text(APPLICATION.format(said="own"))
    user = pwd.getpwnam(POOL_USER)
    for path in (home, home / "site"):
        os.chown(path, user.pw_uid, user.pw_gid)


def close(folder):
    (folder / "home" / "site").chmod(0)


def remove(folder):
    shutil.rmtree(folder / "home" / "site")


def start(prepare, pools=POOLS, **options):
    files = {"other.py": APPLICATION.format(said="other")}
    return Pyfpm(pools, files=files, prepare=prepare, **options)


@pytest.mark.parametrize("take_away", [close, remove])
def test_other_pools_start_although_a_tenant_took_its_folder_away(take_away):
    """The log says what `check` says, and the pool is well again when its folder is."""

    def prepare(folder):
        make_home(folder)
        take_away(folder)

    with start(prepare) as fpm:
        assert fetch(fpm.address("other.sock")).body == b"other"
        fpm.log.wait_for(rf"ERROR: .*pyfpm\.conf:\d+: \[pool:own\] directory: .*{fpm.folder}/home")
        refused = run_pyfpm("-c", fpm.config, "check")
        assert (refused.returncode, "[pool:own] directory: " in refused.stderr) == (78, True)
        shutil.rmtree(fpm.folder / "home")
        make_home(fpm.folder)
        wait_until(lambda: fpm.pool_status("own")["idle processes"] == 1, timeout_s=30)
        assert fetch(fpm.address("own.sock")).body == b"own"


def test_other_pools_are_reloaded_although_a_tenant_closed_its_folder():
    """The tenant's pool fails to be reloaded and serves on."""
    with start(make_home) as fpm:
        close(fpm.folder)
        (fpm.app / "other.py").write_text(APPLICATION.format(said="newer"))
        reloaded = fpm.command("reload")
        assert reloaded.returncode == 1
        assert "own" in reloaded.stderr
        assert "[pool:own] directory: " in reloaded.stdout + reloaded.stderr
        wait_until(lambda: fetch(fpm.address("other.sock")).body == b"newer")
        assert fetch(fpm.address("own.sock")).body == b"own"
        upgraded = fpm.command("upgrade")
        assert upgraded.returncode == 1  # its second half is a reload
        assert fetch(fpm.address("other.sock")).body == b"newer"
        assert fetch(fpm.address("own.sock")).body == b"own"


def test_configuration_that_leaves_no_pool_is_refused():
    """Where no other pool is to be spared, the start says what is wrong and ends."""

    def prepare(folder):
        make_home(folder)
        close(folder)

    pools = POOLS[: POOLS.index("[pool:other]")]
    with start(prepare, pools, wait_ready=False) as fpm:
        assert fpm.process.wait(20) == 78
        fpm.log.wait_for(r"\[pool:own\] directory: ")


def test_tenant_of_the_last_pool_keeps_no_removed_one_in_service():
    """Nor the settings of the service as they are, by closing its own folder."""
    with start(make_home) as fpm:
        close(fpm.folder)
        text = fpm.config.read_text()
        text = text[: text.index("[pool:other]")]
        fpm.config.write_text(text.replace("[pyfpm]", "[pyfpm]\ncontrol.mode = 0640"))
        reloaded = fpm.command("reload")
        assert reloaded.returncode == 1
        assert "[pool:own] directory: " in reloaded.stderr
        assert "the old generation serves on" in reloaded.stderr
        assert list(fpm.status()["pools"]) == ["own"]
        assert stat.S_IMODE((fpm.folder / "control.sock").stat().st_mode) == 0o640
        assert fetch(fpm.address("own.sock")).body == b"own"
        assert not (fpm.folder / "other.sock").exists()
