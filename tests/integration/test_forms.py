"""The compiled and the plain form in real pools: which one runs, and that both serve."""

import glob
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest
from harness.fcgi_client import fetch
from harness.installed import installed
from harness.machine import REPOSITORY, is_ci
from harness.master import Pyfpm, environment

from pyfpm.form import form

APP = """\
def app(environ, start_response):
    import pyfpm.runtime.engine
    from pyfpm.form import form
    start_response("200 OK", [("X-Engine", pyfpm.runtime.engine.__file__)])
    return [form.describe().encode()]
"""

POOL = """
[pool:a]
app = which:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 1
"""

SHARED_OBJECT = f"_compiled{EXTENSION_SUFFIXES[0]}"


@pytest.fixture(autouse=True)
def built():
    """There is something to choose: the compiled form is built in this clone."""
    if form.is_forced:
        pytest.skip("PYFPM_PURE is set for these tests")
    if form.describe() != "compiled":
        (pytest.fail if is_ci() else pytest.skip)(f"{form.describe()} (make test builds)")


def ask(fpm):
    response = fetch(fpm.address("a.sock"))
    assert response.status == 200, fpm.log.text()
    return response.body.decode()


def version(environ):
    """What `pyfpm --version` says."""
    done = subprocess.run(
        [sys.executable, "-m", "pyfpm", "--version"],
        env=environment(environ),
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_pool_runs_the_compiled_form_from_the_masters_package():
    """Through the descriptor of the package's folder, as all of the runtime."""
    with Pyfpm(POOL, files={"which.py": APP}) as fpm:
        response = fetch(fpm.address("a.sock"))
        assert response.body == b"compiled"
        assert response.header("X-Engine") == f"/proc/self/fd/5/{SHARED_OBJECT}"


def test_pyfpm_pure_reaches_pools_whose_environment_is_cleared():
    """PYFPM_PURE of the master is the pools' form, too."""
    with Pyfpm(POOL, files={"which.py": APP}, environ={"PYFPM_PURE": "1"}) as fpm:
        assert ask(fpm) == "plain: PYFPM_PURE is set for the master"


def test_pyfpm_pure_of_one_pool_is_for_that_pool():
    """As any variable of its environment."""
    pool = POOL + 'environment = PYFPM_PURE="1"\n'
    with Pyfpm(pool, files={"which.py": APP}) as fpm:
        assert ask(fpm) == "plain: PYFPM_PURE is set"


@pytest.mark.parametrize("value", ["", "0"])
def test_pyfpm_pure_may_say_no(value):
    """Empty and 0 are no wish for the plain form."""
    assert version({"PYFPM_PURE": value}).endswith("(compiled)\n")


def remove(package):
    (package / SHARED_OBJECT).unlink()


def spoil(package):
    (package / SHARED_OBJECT).write_bytes(b"\x7fELF is what it begins with")


def cut_short(package):
    whole = (package / SHARED_OBJECT).read_bytes()
    (package / SHARED_OBJECT).write_bytes(whole[: len(whole) // 2])


def edit(package):
    with (package / "cgi" / "paths.py").open("a") as source:
        source.write("# somebody edits the source\n")


def leave_half(package):
    """Make it a set of other modules than the code expects."""
    source = package / "form.py"
    text = source.read_text()
    assert '"pyfpm.runtime.engine",' in text
    source.write_text(text.replace('"pyfpm.runtime.engine",', '"pyfpm.runtime.orders",'))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (remove, "not built for this interpreter"),
        (spoil, "cannot load "),
        (cut_short, "the file is cut short"),
        (edit, "built from another pyfpm.cgi.paths than the one that is here"),
        (leave_half, "built from another pyfpm.runtime.engine than the one that is here"),
    ],
)
def test_compiled_form_that_is_not_whole_is_not_used_at_all(harm, reason):
    """The plain form serves, and --version says why it does."""
    with installed() as copy:
        harm(copy.folder / "pyfpm")
        said = version(copy.environ)
        assert said.startswith("pyfpm 0.1.0 (plain: ")
        assert reason in said
        with Pyfpm(POOL, files={"which.py": APP}, environ=copy.environ) as fpm:
            answer = ask(fpm)
            assert answer.startswith("plain: ")
            assert reason in answer


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_shared_object_that_goes_away_is_not_missed_by_those_who_have_it(preload):
    """What a zygote has loaded its workers have, whatever happens to the file."""
    pool = f"{POOL}preload = {preload}\n"
    with installed() as copy, Pyfpm(pool, files={"which.py": APP}, environ=copy.environ) as fpm:
        assert ask(fpm) == "compiled"
        remove(copy.folder / "pyfpm")
        assert fpm.command("restart", "a").returncode == 0
        assert ask(fpm) == "compiled"
        assert fpm.command("reload", "a").returncode == 0
        assert ask(fpm) == "plain: not built for this interpreter"


def test_interpreter_of_another_version_runs_the_plain_form():
    """The master is compiled, the pool's Python has no compiled form."""
    found = sorted(glob.glob("/root/.pyenv/versions/3.1[2-9].*/bin/python3"))
    found += filter(None, map(shutil.which, ["python3.12", "python3.13", "python3.14"]))
    other = [path for path in found if suffix_of(path) not in {"", EXTENSION_SUFFIXES[0]}]
    if not other:
        pytest.skip("one version of Python alone")
    with Pyfpm(
        f"{POOL}python = {other[0]}\n",
        defaults="user =",
        files={"which.py": APP},
        arguments=["-R"],
    ) as fpm:
        assert ask(fpm) == "plain: not built for this interpreter"


def suffix_of(python):
    """Return how shared objects of an interpreter are named; empty if it does not run."""
    code = "import importlib.machinery as m; print(m.EXTENSION_SUFFIXES[0])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_repository_is_what_is_tested():
    """Not a pyfpm that happens to be installed."""
    assert form.describe() == "compiled"
    assert str(REPOSITORY) in sys.modules["pyfpm"].__file__
