"""`pyfpm check --sandbox POOL`: what the operator reads before the application finds out."""

import os

import pytest
from harness.deaf_fuse import DeafFuse
from harness.machine import IS_ROOT, POOL_USER, make_venv, needs_sandbox, temporary_folder
from harness.master import run_pyfpm
from harness.processes import reaping

from pyfpm.config import load_text
from pyfpm.errors import SpawnError
from pyfpm.master import try_sandbox

pytestmark = needs_sandbox

CONFIG = """\
[pyfpm]
control = control.sock
[pool:shop]
app = shop:app
directory = app
listen = %(here)s/shop.sock
python = venv
{user}
{lines}
"""


@pytest.fixture
def folder():
    """An application of files that everybody may change, with a link that leads out of it."""
    with temporary_folder() as made:
        for name in ("app", "media", "data", "elsewhere", "closed"):
            (made / name).mkdir()
            (made / name).chmod(0o777)
        (made / "closed").chmod(0o700)
        (made / "app/static").symlink_to("../media")
        (made / "app/inside").symlink_to(".")
        make_venv(made / "venv")
        site = next((made / "venv").glob("lib/python3*/site-packages"))
        (site / "local.pth").write_text(f"{made}/elsewhere\n")
        code = f"import os; open({str(made / 'data' / 'ran')!r}, 'w')\n"
        (site / "code.pth").write_text(code)
        (made / "app/shop.py").write_text(code)
        yield made


def check(folder, *lines, pool="shop"):
    user = f"user = {POOL_USER}" if IS_ROOT else ""
    config = folder / "pyfpm.conf"
    config.write_text(CONFIG.format(user=user, lines="\n".join(lines)))
    return run_pyfpm("-c", config, "check", "--sandbox", pool)


def sections(done):
    """The lines below each title, as path to (rights, the rest)."""
    assert done.returncode == 0, done.stderr
    found, title = {}, ""
    for line in done.stdout.splitlines():
        if line.startswith("  "):
            rights, _, rest = line.strip().partition("  /")
            if not rest:
                rights, _, rest = line.strip().rpartition(" /")
            path, _, why = rest.partition("  ")
            found[title]["/" + path] = (rights.strip(), why)
        elif line:
            title = line.partition(",")[0].partition(":")[0]
            found[title] = {}
    return found


REFUSED = "refused by the sandbox"
MODES = "refused by owners and modes"


def test_what_links_pth_files_and_variables_name_is_tried(folder):
    """Each refused path comes with what names it, the variable with its line."""
    lines = ["sandbox = on", f"env[MEDIA] = {folder}/data", "env[URL] = sqlite:////srv/no/db"]
    found = sections(check(folder, *lines))
    refused = found[REFUSED]
    assert refused[str(folder / "media")] == ("read", f"(link: {folder}/app/static)")
    origin = f"{folder}/pyfpm.conf:10"
    assert refused[str(folder / "data")] == ("read", f"(environment: MEDIA ({origin}))")
    assert "local.pth" in refused[str(folder / "elsewhere")][1]
    assert "/srv/no/db is not there yet" in refused["/srv"][1]
    assert refused["/bin/sh"][0] == "execute"
    assert refused["/tmp"][0] == "read, write"
    assert str(folder / "app") not in refused


def test_what_a_pool_could_not_do_is_not_called_working(folder):
    """A TMPDIR of its own, a database that is to be written, the program behind a script."""
    script = folder / "data" / "tool"
    script.write_text("#!/usr/bin/env sh\n")
    script.chmod(0o755)
    lines = [
        f"env[TMPDIR] = {folder}/media",
        f"env[DB] = {folder}/app/shop.py",
        f"sandbox.execute = {script}",
    ]
    (folder / "app/shop.py").chmod(0o666)
    done = check(folder, *lines)
    found = sections(done)
    assert found[REFUSED][str(folder / "media")][0] == "read, write"
    assert found[REFUSED]["/usr/bin/env"] == ("execute", f"(first line of {script})")
    assert f"write         {folder}/app/shop.py  (environment: DB" in done.stdout
    assert "private folder" not in done.stdout


def test_home_that_no_list_has_is_named_once(folder):
    """The user could write it; the sandbox does not let it be read, which is said already."""
    home = str(folder / "media")
    (folder / "app/static").unlink()
    done = check(folder, "sandbox = on", f"env[HOME] = {home}")
    assert sections(done)[REFUSED][home][0] == "read"
    assert done.stdout.count(f" {home} ") == 1
    assert "can be read and not written" not in done.stdout


def test_what_is_listed_is_no_longer_refused(folder):
    """The positive twin, with the rights that work."""
    lines = [
        "sandbox.read = media elsewhere /etc/passwd",
        "sandbox.write = data",
        "sandbox.execute = /bin/sh",
        f"env[MEDIA] = {folder}/data",
    ]
    found = sections(check(folder, *lines))
    works, refused = found["works"], found[REFUSED]
    assert works[str(folder / "media")] == ("read", "(sandbox.read)")
    assert works[str(folder / "data")] == ("read, write", "(sandbox.write)")
    assert works["/bin/sh"][0] == "read, execute"
    assert works[str(folder / "app")][0] == "read"
    assert works[str(folder / "venv/bin/python")][0] == "read, execute"
    assert works["/etc/passwd"][0] == "read"
    assert not {str(folder / "media"), str(folder / "data"), "/bin/sh"} & refused.keys()


def test_trial_leaves_nothing_and_runs_nothing_of_the_pool(folder):
    """No file, no folder for temporary files, no code of the application or of its venv."""

    def state():
        return {
            path: (path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in [folder, *folder.rglob("*")]
            if path.name != "pyfpm.conf"
        }

    (folder / "pyfpm.conf").write_text("")
    (folder / "data/ran").unlink(missing_ok=True)
    before = state()
    temporary = {name for name in os.listdir("/tmp") if name.startswith("pyfpm-tmp-shop-")}
    sections(check(folder, "sandbox.write = data media"))
    assert state() == before
    assert not (folder / "data/ran").exists()
    left = {name for name in os.listdir("/tmp") if name.startswith("pyfpm-tmp-shop-")}
    assert left == temporary


def test_pool_without_a_sandbox_is_tried_as_if_it_had_one(folder):
    """For who thinks about switching it on."""
    done = check(folder, "sandbox = off")
    assert "sandbox = off, this is what `on` would mean" in done.stdout.splitlines()[0]
    assert str(folder / "media") in sections(done)[REFUSED]


def test_what_modes_refuse_is_told_apart(folder, as_root):
    """Listing it would not help."""
    lines = ["sandbox.write = data closed"]
    (folder / "closed").chmod(0o755)
    found = sections(check(folder, *lines, "env[SECRET] = /etc/shadow"))
    assert found[MODES][str(folder / "closed")] == ("write", "(sandbox.write)")
    assert "/etc/shadow" in found[MODES]
    assert "/etc/shadow" not in found[REFUSED]


def test_listed_path_that_the_user_cannot_reach_is_an_error_with_its_line(folder, as_root):
    """It is there, so nobody is told to create it: a folder above refuses the pool's user."""
    (folder / "closed/data").mkdir()
    done = check(folder, "sandbox = on", "sandbox.read = closed/data")
    assert done.returncode == 78
    place = f"{folder}/pyfpm.conf:10: [pool:shop] sandbox.read: user {POOL_USER} cannot enter"
    way = f"{folder}/closed (mode 0700), on the way to {folder}/closed/data"
    cure = f"run `chmod o+x {folder}/closed`, or leave it out"
    assert done.stderr == f"{place} {way}; {cure}\n"


def test_pool_that_there_is_not_is_wrong_usage(folder):
    """With the names that there are."""
    done = check(folder, pool="shp")
    assert done.returncode == 64
    assert "no pool 'shp'; there are: shop" in done.stderr


def test_place_that_never_answers_ends_the_trial_and_not_the_check(folder, as_root):
    """A tenant may mount FUSE where it looks, and then not even SIGKILL ends who waits there."""
    text = CONFIG.format(user="", lines=f"environment = DATA='{folder}/data/deaf/file'")
    config = load_text(text, str(folder / "pyfpm.conf"), {}, is_root=True, allow_root=True)
    assert try_sandbox(config, config.pools["shop"]).findings
    (folder / "data/deaf").mkdir()
    with reaping():
        deaf = DeafFuse(folder / "data/deaf")
        try:
            with pytest.raises(SpawnError, match="did not end within 3 s"):
                try_sandbox(config, config.pools["shop"], timeout_s=3)
        finally:
            deaf.close()
