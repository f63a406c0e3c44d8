"""Pools in interpreters that know nothing of pyfpm, or know something else by its name."""

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness.fcgi_client import fetch
from harness.machine import IS_ROOT, REPOSITORY, make_venv
from harness.master import Pyfpm

SYSTEM_PYTHON = "/usr/bin/python3"

# Tells what can be imported in its worker, and where pyfpm came from.
PROBE = """\
import importlib, json, os, sys, sysconfig

def app(environ, start_response):
    import pyfpm
    import pyfpm.runtime.engine
    found = {}
    for name in ("click", "configobj", "waitress", "psutil", "local_only"):
        try:
            importlib.import_module(name)
        except ImportError:
            found[name] = False
        else:
            found[name] = True
    body = json.dumps({
        "version": list(sys.version_info[:2]), "executable": sys.executable,
        "prefix": sys.prefix, "importable": found, "pid": os.getpid(),
        "pyfpm": pyfpm.__version__, "engine": pyfpm.runtime.engine.__file__,
        "is_other": hasattr(pyfpm, "OTHER"), "path": sys.path,
        "shadows": [getattr(sys.modules.get(name), "SHADOW", False) for name in ("signal", "json")],
    }).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""

POOL = """
[pool:a]
app = probe:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 1
python = {python}
preload = {preload}
"""


def probe(fpm):
    response = fetch(fpm.address("a.sock"))
    assert response.status == 200, fpm.log.text()
    return json.loads(response.body)


def make_system_venv(folder, modules):
    """A venv of the distribution's Python, with these modules (name to text) as its packages."""
    if not os.path.exists(SYSTEM_PYTHON):
        pytest.skip(f"no {SYSTEM_PYTHON}")
    venv = folder / "venv"
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python3*/site-packages"))
    for name, text in modules.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text)


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_venv_without_pyfpm_serves_with_the_masters_runtime(preload):
    """The venv needs no package of pyfpm's; its own are importable, the master's are not."""
    with Pyfpm(
        POOL.format(python="%(here)s/venv", preload=preload),
        files={"probe.py": PROBE},
        prepare=lambda folder: make_system_venv(folder, {"local_only.py": ""}),
    ) as fpm:
        seen = probe(fpm)
        assert seen["prefix"] == str(fpm.folder / "venv")
        assert seen["importable"] == {
            "click": False,
            "configobj": False,
            "waitress": False,
            "psutil": False,
            "local_only": True,
        }
        assert seen["path"][0] == str(fpm.app)
        assert not any(str(REPOSITORY) in entry for entry in seen["path"])


def test_venv_with_another_package_of_that_name_gets_ours():
    """A different distribution named pyfpm in the venv is never run, in zygote or worker."""
    other = "OTHER = 1\nraise RuntimeError('the wrong pyfpm')\n"
    with Pyfpm(
        POOL.format(python="%(here)s/venv", preload="auto"),
        files={"probe.py": PROBE},
        prepare=lambda folder: make_system_venv(
            folder, {"pyfpm/__init__.py": other, "pyfpm/runtime.py": other}
        ),
    ) as fpm:
        seen = probe(fpm)
        assert not seen["is_other"]
        assert seen["engine"].startswith("/proc/self/fd/")


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_newer_interpreter_serves_under_the_masters_python(version):
    """Any CPython from 3.11 on runs the runtime, whatever the master runs on."""
    found = sorted(glob.glob(f"/root/.pyenv/versions/{version}.*/bin/python{version}"))
    found += filter(None, [shutil.which(f"python{version}")])
    if not found:
        pytest.skip(f"no Python {version}")
    if not IS_ROOT and found[0].startswith("/root/"):
        pytest.skip("below root's own folder")
    with Pyfpm(
        POOL.format(python=found[0], preload="auto"),
        defaults="user =",
        files={"probe.py": PROBE},
        arguments=["-R"],
    ) as fpm:
        seen = probe(fpm)
        assert seen["version"] == [int(part) for part in version.split(".")]
        assert sum(seen["importable"].values()) == 0
        os.kill(seen["pid"], signal.SIGKILL)
        fpm.log.wait_for(rf"child {seen['pid']} exited on signal 9")
        assert probe(fpm)["pid"] != seen["pid"]


def test_interpreter_too_old_says_so():
    """A Python below 3.11 is a failed boot that names the interpreter."""
    found = sorted(glob.glob("/root/.pyenv/versions/3.10.*/bin/python3.10"))
    if not found or not IS_ROOT:
        pytest.skip("no Python 3.10")
    with Pyfpm(
        POOL.format(python=found[0], preload="auto"),
        defaults="user =",
        files={"probe.py": PROBE},
        arguments=["-R"],
        wait_ready=False,
    ) as fpm:
        assert fpm.process.wait(20) == 1
        assert f"{found[0]} is Python 3.10; pyfpm needs 3.11 or later" in fpm.log.text()


@pytest.mark.parametrize("preload", ["on", "off"])
def test_application_folder_with_names_of_the_standard_library_serves(preload):
    """Modules beside the application do not shadow what the runtime needs."""
    names = ["signal", "json", "socket", "select", "traceback", "struct", "array", "selectors"]
    files = {f"{name}.py": "SHADOW = True\n" for name in names}
    with Pyfpm(
        POOL.format(python="%(here)s/venv", preload=preload),
        files={"probe.py": PROBE, **files},
        prepare=lambda folder: make_venv(folder / "venv"),
    ) as fpm:
        assert probe(fpm)["shadows"] == [False, False]
        first = probe(fpm)["pid"]
        os.kill(first, signal.SIGKILL)
        fpm.log.wait_for(rf"child {first} exited on signal 9")
        assert probe(fpm)["pid"] != first


def test_package_folder_behind_a_closed_one_serves(as_root):
    """The pool's user cannot walk to the master's package, and needs not: it gets a descriptor."""
    environ = {"PYTHONDONTWRITEBYTECODE": "1"}

    def hide(folder):
        hidden = folder / "hidden"
        environ["PYTHONPATH"] = str(hidden / "site")
        shutil.copytree(
            REPOSITORY / "pyfpm",
            hidden / "site" / "pyfpm",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        hidden.chmod(0o700)
        make_system_venv(folder, {})

    pools = POOL.format(python="%(here)s/venv", preload="auto")
    with Pyfpm(pools, files={"probe.py": PROBE}, prepare=hide, environ=environ) as fpm:
        with open(f"/proc/{fpm.process.pid}/environ", "rb") as variables:
            assert str(fpm.folder / "hidden" / "site").encode() in variables.read()
        assert probe(fpm)["pyfpm"]


def test_master_in_a_venv_of_its_own_leaves_no_trace_in_the_pool():
    """Without `python` the pool runs the master's interpreter, with its own packages."""
    if not Path(sys.prefix, "pyvenv.cfg").exists():
        pytest.skip("not in a venv")
    with Pyfpm(
        "[pool:a]\napp = probe:app\nlisten = %(here)s/a.sock\npm.max_children = 1\n",
        files={"probe.py": PROBE},
        defaults="user =",
        arguments=["-R"],
    ) as fpm:
        assert probe(fpm)["prefix"] == sys.prefix
