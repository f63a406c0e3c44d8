"""What a tenant leaves in its private temporary folder, and what becomes of it with the pool."""

import os
import pwd
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.deaf_fuse import DeafFuse
from harness.machine import IS_ROOT, POOL_USER, needs_sandbox
from harness.master import Pyfpm
from harness.sandbox_app import FILES, Site, pool

pytestmark = needs_sandbox

POOL = pool("sandbox = on", name="left")
# Beyond what Python recurses and what a process may open; removed in seconds by a starved machine.
DEEP = 1_200
REMOVE = "could not be removed"


@contextmanager
def running(**more):
    """A master, and the temporary folder of its pool; whatever is left is removed at the end."""
    base = more.pop("base", None)
    environ = {} if base is None else {"TMPDIR": str(base)}
    folder = None
    try:
        with Pyfpm(POOL, files=FILES, environ=environ, **more) as fpm:
            folder = Path(Site(fpm, "left").attempt("environ", "TMPDIR"))
            yield fpm, folder
    finally:
        if folder is not None:
            subprocess.run(["rm", "-rf", folder], check=False)


def give(path):
    """Make it the tenant's, as if the pool had made it."""
    if IS_ROOT:
        follow = {} if isinstance(path, int) else {"follow_symlinks": False}
        os.chown(path, *pwd.getpwnam(POOL_USER)[2:4], **follow)


def nest(folder, depth):
    """Folders in folders in folders."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        give(below)
        os.close(here)
        here = below
    os.close(here)


def test_folders_in_folders_without_end_are_removed():
    """Deeper than a process has descriptors, and than Python recurses."""
    with running() as (fpm, folder):
        nest(folder, DEEP)
        fpm.stop()
        assert not folder.exists()
        assert REMOVE not in fpm.log.text()


def test_folder_that_its_owner_has_closed_is_removed():
    """Its mode is its owner's to change back, and the owner's process removes it."""
    with running() as (fpm, folder):
        closed = folder / "closed/inner"
        closed.mkdir(parents=True)
        (closed / "file").touch()
        for path in (closed / "file", closed, closed.parent):
            give(path)
            path.chmod(0)
        fpm.stop()
        assert not folder.exists()


def test_links_are_removed_and_not_followed():
    """Wherever they lead, the folder above included."""
    with running() as (fpm, folder):
        kept = fpm.folder / "kept"
        kept.mkdir()
        (kept / "file").touch()
        for path in (kept, kept / "file"):
            give(path)
        for name, target in (("up", ".."), ("out", kept), ("none", "nowhere")):
            (folder / name).symlink_to(target)
            give(folder / name)
        fpm.stop()
        assert not folder.exists()
        assert (kept / "file").exists()


@contextmanager
def mounted(folder, *words):
    done = subprocess.run(["mount", *words, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no mounts can be made here: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("where", ["inside", "itself"])
def test_what_is_mounted_there_is_left_alone(where, as_root, tmp_path):
    """Somebody has bound a folder of data to it: that is not the pool's to remove."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").touch()
    for path in (data, data / "file"):
        give(path)
    with running() as (fpm, folder):
        place = folder
        if where == "inside":
            place = folder / "in/mount"
            place.mkdir(parents=True)
            for path in (place.parent, place):
                give(path)
        (folder / "other").touch()
        with mounted(place, "--bind", data):
            assert fpm.command("reload").returncode == 0
            fpm.stop()
            assert (data / "file").exists()
            if where == "inside":
                assert f"temporary folder {folder} {REMOVE}" in fpm.log.text()
            else:
                assert f"something else is in the place of {folder}:" in fpm.log.text()
        assert not (folder / "other").exists() or where == "itself"


@pytest.mark.parametrize("where", ["inside", "itself", "beside"])
def test_server_of_files_that_never_answers_does_not_stop_the_master(where, as_root):
    """A user may mount FUSE on a folder of its own; who looks at it, waits for its server."""
    with running() as (fpm, folder):
        place = folder
        if where == "inside":
            place = folder / "in"
        elif where == "beside":
            place = folder.with_name(folder.name[:-16] + "0" * 16)
        if place != folder:
            place.mkdir()
            give(place)
        deaf = DeafFuse(place)
        try:
            for command in (["reload"], ["stop", "left"], ["start-pool", "left"]):
                assert fpm.command(*command).returncode == 0
                assert fpm.status()["pyfpm"]["state"] == "running"
            assert Site(fpm, "left").attempt("pid")
            fpm.stop()
        finally:
            deaf.close()
            if where == "beside":
                shutil.rmtree(place)
