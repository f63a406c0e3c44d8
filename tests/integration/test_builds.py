"""Installing: with a compiler, without one, and with one that does not work."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile

import pytest
from harness.machine import REPOSITORY, is_ci, temporary_folder
from harness.master import environment

NOT_COMPILED = "pyfpm: not compiled, the plain form will run: "


@pytest.fixture
def sources():
    """Copy what a release consists of to a folder of its own; nothing is downloaded."""
    for module in ("Cython", "setuptools", "pip"):
        if importlib.util.find_spec(module) is None:
            (pytest.fail if is_ci() else pytest.skip)(f"no {module} (make test installs it)")
    with temporary_folder() as folder:
        for name in ("pyfpm", "stubs"):
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(REPOSITORY / name, folder / "sources" / name, ignore=ignored)
        for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
            shutil.copy(REPOSITORY / name, folder / "sources")
        yield folder / "sources"


def pip(*words, environ):
    """Run pip for this interpreter and return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "-v", "--disable-pip-version-check", *words],
        env=environment({"PYTHONPATH": "", **environ}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def version(folder):
    """What the pyfpm in `folder` says of itself."""
    done = subprocess.run(
        [sys.executable, "-m", "pyfpm", "--version"],
        env=environment({"PYTHONPATH": str(folder), "PYFPM_PURE": ""}),
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    "environ",
    [
        {"CC": "/nowhere/cc"},  # no compiler
        {"CC": "/bin/false"},  # one that does not work
        {"CFLAGS": "-nostdinc"},  # no Python.h, nor any other header
        {"PYFPM_COMPILE": "no"},
    ],
)
def test_install_without_a_working_compiler_succeeds_and_runs_plain(sources, environ):
    """It says so once, in a line; whoever does not want to compile is not told."""
    target = sources.parent / "site"
    words = ["install", "--no-build-isolation", "--no-deps", "--target", target, sources]
    said = pip(*words, environ=environ)
    assert said.count(NOT_COMPILED) == (0 if "PYFPM_COMPILE" in environ else 1)
    assert version(target) == "pyfpm 0.1.0 (plain: not built for this interpreter)\n"


def test_wish_that_means_nothing_is_an_error(sources):
    """Otherwise `require` or `1` would give whom it serves a plain form, and no word about it."""
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext"],
        cwd=sources,
        env=environment({"PYFPM_COMPILE": "require"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "PYFPM_COMPILE is 'require'; write no or required, or leave it empty" in done.stderr


def test_wheel_must_not_be_plain_where_the_compiled_form_is_required(sources):
    """Otherwise a broken builder would publish slow wheels and nobody would notice."""
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext"],
        cwd=sources,
        env=environment({"CC": "/bin/false", "PYFPM_COMPILE": "required"}),
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0


def test_wheel_holds_both_forms_and_its_install_is_compiled(sources):
    """One shared object, the sources beside it, and the types that they are compiled with."""
    if shutil.which("cc") is None:
        (pytest.fail if is_ci() else pytest.skip)("no C compiler")
    wheels = sources.parent / "wheels"
    words = ["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", wheels, sources]
    said = pip(*words, environ={"PYFPM_COMPILE": "required"})
    assert NOT_COMPILED not in said
    [wheel] = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len([name for name in names if name.endswith(".so")]) == 1
    assert not [name for name in names if name.endswith((".c", ".pyx"))]
    types = [name for name in names if name.endswith(".pxd")]
    assert types
    assert {name.removesuffix("pxd") + "py" for name in types} <= set(names)
    target = sources.parent / "site"
    pip("install", "--no-deps", "--target", target, wheel, environ={})
    assert version(target) == "pyfpm 0.1.0 (compiled)\n"
    assert not list((sources / "pyfpm").rglob("*.so"))
