"""Attempts of a tenant to have its next sandbox opened wider than the configuration says.

A sandbox is made of paths, and some of them lead through files that a tenant may own: links, the
`pyvenv.cfg` of its venv, an interpreter that names its loader. Each attempt changes one of them
and has the pool reloaded. The reload must refuse, with the way out, and the old rules must hold.
"""

import os
import pwd
import shutil
import struct
import sys
from contextlib import suppress

import pytest
from harness.machine import POOL_USER, make_venv, needs_sandbox
from harness.master import Pyfpm
from harness.sandbox_app import FILES, PROBE, Site, pool

pytestmark = needs_sandbox

VERSION = "python{}.{}".format(*sys.version_info[:2])


def give(path):
    """Make it the tenant's, with all that is in it."""
    user = pwd.getpwnam(POOL_USER)
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.chown(one, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return path


def link(path, target):
    """A link of the tenant, as `ln -sfn` makes it."""
    with suppress(FileNotFoundError):
        path.unlink()
    path.symlink_to(target)
    os.chown(path, *pwd.getpwnam(POOL_USER)[2:4], follow_symlinks=False)


def make_secret(folder):
    """An interpreter with a library of its own: root's, and open to everybody but sandboxes."""
    secret = folder / "secret"
    (secret / "bin").mkdir(parents=True)
    (secret / "lib").mkdir()
    (secret / "lib/key").write_text("the key")
    (secret / "key").write_text("the key")
    (secret / "probe.py").write_text(PROBE)
    shutil.copy(os.path.realpath(sys.executable), secret / "bin" / VERSION)
    (secret / "bin/python3").symlink_to(VERSION)


def prepare(folder):
    make_secret(folder)
    give(make_venv(folder / "site/venv"))
    (folder / "site/venv/pyvenv.cfg.evil").write_text(f"home = {folder}/secret/bin\n")
    for name in ("one", "two", "tools"):
        (folder / "site" / name).mkdir()
    shutil.copy(folder / "app/probe.py", folder / "site/one")
    shutil.copy(os.path.realpath("/bin/echo"), folder / "site/tools/tool")
    give(folder / "site")
    link(folder / "site/current", "one")


TENANT = (
    "python = %(here)s/site/venv",
    "directory = %(here)s/site/current",
    "sandbox = on",
    "sandbox.execute = site/tools/tool",
)
INSIDE = ("directory = %(here)s/site/one", "sandbox.write = site/venv", TENANT[0])


@pytest.fixture(scope="module")
def fpm():
    if os.getuid():
        pytest.skip("needs root")
    pools = pool(*TENANT, name="tenant") + pool(*INSIDE, name="inside")
    with Pyfpm(pools, files=FILES, prepare=prepare) as running:
        yield running


def assert_refused(fpm, name, words, *, secret="lib/key"):
    """The reload says why and names the way out; the pool serves on as it was."""
    done = fpm.command("reload", name)
    site = Site(fpm, name)
    got = site.attempt("read", fpm.folder / "secret" / secret)
    assert got == "EACCES", f"the attack succeeded: {got}"
    assert done.returncode == 1
    for word in words:
        assert word in done.stderr
    assert site.attempt("read", "/etc/hosts")


def assert_serves_again(fpm, name):
    done = fpm.command("reload", name)
    assert done.returncode == 0, done.stderr


def test_venv_of_a_tenant_that_is_made_from_the_systems_python_serves(fpm):
    """What most venvs are: links and pyvenv.cfg are the tenant's, and lead to the system."""
    assert (fpm.folder / "site/venv/pyvenv.cfg").stat().st_uid
    for name in ("tenant", "inside"):
        assert_serves_again(fpm, name)
        site = Site(fpm, name)
        assert site.attempt("read", fpm.folder / "secret/lib/key") == "EACCES"
        assert site.attempt("import", "json")


def test_home_in_pyvenv_cfg_opens_no_folder_of_others(fpm):
    """`home = /secret/bin` would open /secret/lib and make what lies in /secret/bin executable."""
    config = fpm.folder / "site/venv/pyvenv.cfg"
    kept = config.read_text()
    config.write_text(f"home = {fpm.folder}/secret/bin\n")
    try:
        assert_refused(fpm, "tenant", [f"because of {config}, which user", "in sandbox.execute"])
    finally:
        config.write_text(kept)
    assert_serves_again(fpm, "tenant")


def test_home_that_leads_on_through_links_opens_no_folder_of_others(fpm):
    """The folder that `home` names is the tenant's own, but not what its links lead to."""
    config, base = fpm.folder / "site/venv/pyvenv.cfg", fpm.folder / "site/base"
    kept = config.read_text()
    (base / "bin").mkdir(parents=True)
    link(base / "lib", fpm.folder / "secret/lib")
    config.write_text(f"home = {base}/bin\n")
    give(base)
    try:
        assert_refused(fpm, "tenant", [f"{base}/lib leads to {fpm.folder}/secret/lib because of"])
    finally:
        config.write_text(kept)
        shutil.rmtree(base)
    assert_serves_again(fpm, "tenant")


@pytest.mark.parametrize("way", ["direct", "second link", "folder"])
def test_link_in_the_place_of_the_interpreter_opens_no_library_of_others(fpm, way):
    """Whichever link of the chain is turned aside."""
    folder = fpm.folder / "site/venv/bin"
    target = fpm.folder / "secret/bin/python3"
    kept = os.readlink(folder / "python")
    if way == "direct":
        link(folder / "python", target)
    elif way == "second link":
        link(folder / "other", target)
        link(folder / "python", "other")
    else:
        link(folder / "folder", "../../../secret/bin")
        link(folder / "python", "folder/python3")
    try:
        words = ["python leads to", f"secret/bin/{VERSION} because of {folder}", "sandbox.execute"]
        assert_refused(fpm, "tenant", words)
    finally:
        link(folder / "python", kept)
    assert_serves_again(fpm, "tenant")


def test_link_in_the_place_of_the_directory_opens_no_folder_of_others(fpm):
    """A deploy changes the link to another folder of the tenant; to those of others it must not."""
    current = fpm.folder / "site/current"
    link(current, fpm.folder / "secret")
    try:
        words = [f"directory: {current} leads to {fpm.folder}/secret because of {current}"]
        assert_refused(fpm, "tenant", words, secret="key")
    finally:
        link(current, "one")
    assert_serves_again(fpm, "tenant")


def test_program_that_names_a_file_as_its_loader_does_not_open_it(fpm):
    """The kernel executes the loader, so it is opened; the tenant's program names any file."""
    tool, key = fpm.folder / "site/tools/tool", fpm.folder / "secret/key"
    kept, text = tool.read_bytes(), os.fsencode(key) + b"\0"
    head = b"\x7fELF\x02\x01" + bytes(10) + struct.pack("<HHIQQQI", 2, 62, 1, 0, 64, 0, 0)
    head += struct.pack("<HHHHHH", 64, 56, 1, 0, 0, 0)
    entry = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(text), len(text), 1)
    tool.write_bytes(head + entry + text)
    try:
        assert_refused(fpm, "tenant", [f"sandbox.execute: {key} leads to"], secret="key")
    finally:
        tool.write_bytes(kept)
    assert_serves_again(fpm, "tenant")


def test_code_inside_the_sandbox_that_may_write_its_venv_does_not_widen_it(fpm):
    """No shell is needed here: the worker itself exchanges pyvenv.cfg."""
    site, venv = Site(fpm, "inside"), fpm.folder / "site/venv"
    kept = (venv / "pyvenv.cfg").read_text()
    assert site.attempt("rename", venv / "pyvenv.cfg.evil", venv / "pyvenv.cfg") is None
    try:
        words = ["pyvenv.cfg, which code inside the sandbox can change", "sandbox.execute"]
        assert_refused(fpm, "inside", words)
    finally:
        (venv / "pyvenv.cfg").write_text(kept)
    assert_serves_again(fpm, "inside")


def test_code_inside_the_sandbox_leads_it_not_even_to_what_its_user_owns(fpm):
    """Else whatever else the user owns, keys for instance, would be open after the next reload."""
    folder, own = fpm.folder / "site/venv/bin", fpm.folder / "own"
    (own / "bin").mkdir(parents=True)
    (own / "lib").mkdir()
    (own / "lib/key").write_text("the key")
    shutil.copy(os.path.realpath(sys.executable), own / "bin/python3")
    give(own)
    kept = os.readlink(folder / "python")
    link(folder / "python", own / "bin/python3")
    try:
        words = ["which code inside the sandbox can change"]
        assert_refused(fpm, "inside", words, secret="../own/lib/key")
    finally:
        link(folder / "python", kept)
    assert_serves_again(fpm, "inside")


def test_interpreter_that_is_meant_is_listed(as_root):
    """The way out that the message names; and a venv that root made needs no list."""

    def prepare_both(folder):
        prepare(folder)
        (folder / "secret/lib" / VERSION).symlink_to(f"/usr/lib/{VERSION}")
        config = folder / "site/venv/pyvenv.cfg"
        config.write_text(f"home = {folder}/secret/bin\n")
        link(folder / "site/venv/bin/python", folder / "secret/bin/python3")
        shutil.copytree(folder / "site/venv", folder / "roots", symlinks=True)

    lists = (
        f"sandbox.execute = secret/bin/{VERSION}",
        "sandbox.read = secret/lib",
        "directory = %(here)s/site/one",
    )
    listed = pool(*lists, "python = %(here)s/site/venv", name="listed")
    roots = pool("sandbox = on", "python = %(here)s/roots", name="roots")
    with Pyfpm(listed + roots, files=FILES, prepare=prepare_both) as fpm:
        for name in ("listed", "roots"):
            site = Site(fpm, name)
            assert site.attempt("read", fpm.folder / "secret/lib/key") == "the key"
            assert site.attempt("read", fpm.folder / "secret/key") == "EACCES"


def test_check_names_the_line_and_the_way_out(as_root):
    """As at the start, before anything is started."""
    with Pyfpm(pool(*TENANT, name="tenant"), files=FILES, prepare=prepare) as fpm:
        link(fpm.folder / "site/current", fpm.folder / "secret")
        for arguments in ([], ["--sandbox", "tenant"]):
            done = fpm.command("check", *arguments)
            assert done.returncode == 78
            assert f"[pool:tenant] directory: {fpm.folder}/site/current leads to" in done.stderr
            line = done.stderr.split(":")[1]
            assert fpm.config.read_text().splitlines()[int(line) - 1] == TENANT[1]
