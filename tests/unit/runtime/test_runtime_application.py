"""Loading what `app =` names, and what the operator reads when that fails."""

import itertools
import os
import sys

import pytest
from harness.boot_documents import ORIGIN, make_boot_document

from pyfpm.errors import SpawnError
from pyfpm.runtime.application import load_application

numbers = itertools.count()


@pytest.fixture(autouse=True)
def own_imports():
    """Forget what a test imported."""
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def load(tmp_path):
    """Load `source` as a fresh module, and return the application or the error's text."""

    def load(source, attribute="application", module=None):
        name = module or f"app_of_test_{next(numbers)}"
        file = tmp_path / (name.replace(".", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
        try:
            return load_application(make_boot_document(tmp_path, name, attribute))
        except SpawnError as error:
            text = str(error)
            assert text.startswith(f"{ORIGIN}: app = {name}:{attribute}: ")
            return text.removeprefix(f"{ORIGIN}: app = {name}:{attribute}: ")

    return load


WSGI = "def application(environ, start_response):\n    return []\n"


def test_callable_of_a_module_is_loaded(load):
    """The common case."""
    assert load(WSGI)({}, None) == []


def test_attribute_path_reaches_into_objects(load):
    """`module:site.application` works as in other servers."""
    source = (
        "class site:\n    class inner:\n        application = staticmethod(lambda e, s: [b'x'])\n"
    )
    assert load(source, "site.inner.application")({}, None) == [b"x"]


def test_module_in_a_package_is_loaded(load, tmp_path):
    """`project.wsgi:application` is Django's form."""
    (tmp_path / "project_of_test").mkdir()
    (tmp_path / "project_of_test" / "__init__.py").touch()
    assert load(WSGI, module="project_of_test.wsgi")({}, None) == []


def test_directory_of_the_pool_comes_before_everything_on_the_path(load, tmp_path):
    """A module of the same name elsewhere on sys.path does not win."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "twice_there.py").write_text("application = None\n")
    sys.path.insert(0, str(other))
    sys.path.append(str(tmp_path))
    assert callable(load(WSGI, module="twice_there"))
    assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize("module", ["no_such_app", "no_such_package.wsgi"])
def test_missing_module_is_one_line_that_names_it_and_the_folder(tmp_path, module):
    """No traceback of the import system: the line of the configuration is the place to look."""
    with pytest.raises(SpawnError) as caught:
        load_application(make_boot_document(tmp_path, module))
    missing = module.partition(".")[0]
    assert str(caught.value) == (
        f"{ORIGIN}: app = {module}:application: no module named {missing!r} in {tmp_path}"
    )


def test_missing_module_in_a_package_that_exists_is_named_in_full(tmp_path):
    """The package is there, its `wsgi` is not."""
    (tmp_path / "half_package").mkdir()
    (tmp_path / "half_package" / "__init__.py").touch()
    with pytest.raises(SpawnError, match=r"no module named 'half_package\.wsgi' in"):
        load_application(make_boot_document(tmp_path, "half_package.wsgi"))


def test_import_error_inside_the_module_shows_its_traceback(load):
    """A missing dependency is not a missing application."""
    text = load("import os\nimport not_installed_anywhere\n")
    assert text.startswith("import failed\nTraceback")
    assert "line 2, in <module>" in text
    assert "ModuleNotFoundError: No module named 'not_installed_anywhere'" in text


def test_traceback_shows_frames_of_the_application_only(load):
    """pyfpm and importlib above the first line of the module are noise."""
    text = load("def boot():\n    raise ValueError('no database')\nboot()\n")
    assert "ValueError: no database" in text
    assert "in boot" in text
    assert os.path.join("runtime", "application.py") not in text
    assert "importlib" not in text


def test_syntax_error_shows_file_and_line(load):
    """There is no frame of the module then; the error itself knows the place."""
    text = load("def application(:\n", module="broken_syntax")
    assert "broken_syntax.py" in text
    assert "line 1" in text
    assert "SyntaxError" in text
    assert "importlib" not in text


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("import sys\nsys.exit('no settings')\n", "SystemExit: no settings"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("raise BaseException('odd')\n", "BaseException: odd"),
        ("raise GeneratorExit\n", "GeneratorExit"),
    ],
)
def test_module_that_ends_the_interpreter_is_a_failed_boot(load, source, shown):
    """sys.exit at import must not end the zygote without a word."""
    text = load(source)
    assert text.startswith("import failed\n")
    assert shown in text


def test_missing_attribute_is_named_with_its_module(load):
    """A typing error in `app =`."""
    assert load(WSGI, "aplication", module="misspelt_of_test") == (
        "module 'misspelt_of_test' has no attribute 'aplication'"
    )


def test_missing_attribute_further_down_the_path_names_its_holder(load):
    """Which of the names is wrong is what the operator wants to know."""
    assert load("class site:\n    pass\n", "site.application") == (
        "'site' has no attribute 'application'"
    )


@pytest.mark.parametrize(
    ("value", "kind"), [("None", "NoneType"), ("'x'", "str"), ("__import__('sys')", "module")]
)
def test_what_is_not_callable_is_refused_with_its_type(load, value, kind):
    """`app = module:settings` cannot serve."""
    assert load(f"application = {value}\n") == f"not callable, it is {kind}"


@pytest.mark.parametrize(
    "source",
    [
        "async def application(scope, receive, send):\n    pass\n",
        "class A:\n    async def __call__(self, scope, receive, send): ...\napplication = A()\n",
        "class A:\n    async def call(self, scope, receive, send): ...\napplication = A().call\n",
        "from functools import *\nasync def f(x, y, z, s): ...\napplication = partial(f, 1)\n",
    ],
    ids=["function", "instance", "method", "partial"],
)
def test_asgi_applications_are_refused_at_boot(load, source):
    """Called as WSGI they would return a coroutine that nobody awaits."""
    assert "ASGI" in load(source)


@pytest.mark.parametrize(
    "source",
    [
        "class application:\n    def __init__(self, environ, start_response):\n        pass\n",
        "class A:\n    def __call__(self, environ, start): return []\napplication = A()\n",
        "from functools import *\ndef f(x, y, z): return []\napplication = partial(f, 1)\n",
        "application = lambda environ, start_response: []\n",
        "def application(environ, start_response):\n    yield b''\n",
    ],
    ids=["class", "instance", "partial", "lambda", "generator"],
)
def test_every_form_of_wsgi_callable_is_accepted(load, source):
    """PEP 3333 asks for a callable, whatever kind it is."""
    assert callable(load(source))


def test_interrupt_from_the_keyboard_is_not_a_failed_boot(load):
    """Who stops the boot by hand means it."""
    with pytest.raises(KeyboardInterrupt):
        load("raise KeyboardInterrupt\n")
