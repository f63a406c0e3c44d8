"""Which form runs: the choice itself, without loading anything."""

import re
import struct
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from pyfpm.form import HOT, FormFinder
from pyfpm.messages import BOOTSTRAP, bootstrap

PACKAGE = Path(__file__).parents[2] / "pyfpm"


def shared_object(folder, content):
    """Put a file where this interpreter looks for the compiled form."""
    file = folder / f"_compiled{EXTENSION_SUFFIXES[0]}"
    file.write_bytes(content)
    return FormFinder(str(folder))


def test_the_hot_modules_are_those_with_types_beside_them():
    """setup.py compiles what has a .pxd; the list here and those files are the same set."""
    types = [file.relative_to(PACKAGE.parent) for file in PACKAGE.rglob("*.pxd")]
    assert {".".join(file.with_suffix("").parts) for file in types} == HOT
    assert all((PACKAGE.parent / file).with_suffix(".py").exists() for file in types)


def test_nothing_built_for_this_interpreter_is_the_plain_form(tmp_path):
    """A shared object of another interpreter has another name."""
    (tmp_path / "_compiled.cpython-399-x86_64-linux-gnu.so").write_bytes(b"")
    finder = FormFinder(str(tmp_path))
    assert finder.find_spec(min(HOT)) is None
    assert finder.describe() == "plain: not built for this interpreter"


def test_modules_that_are_not_hot_settle_nothing(tmp_path):
    """Importing pyfpm alone looks at no file."""
    finder = FormFinder(str(tmp_path))
    assert finder.find_spec("pyfpm.errors") is None
    finder = shared_object(tmp_path, b"")
    assert not finder.reason


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"no shared object at all" * 100])
def test_shared_object_that_does_not_load_is_the_plain_form(tmp_path, content):
    """And the reason names the file."""
    finder = shared_object(tmp_path, content)
    assert finder.find_spec(min(HOT)) is None
    assert finder.reason.startswith(f"cannot load {tmp_path}/_compiled.")


def test_shared_object_that_was_cut_short_is_not_even_tried(tmp_path):
    """Loading it would end the process: a page beyond the end of a file is SIGBUS."""
    header = b"\x7fELF\x02".ljust(40, b"\0") + struct.pack("=Q10xHH", 5000, 64, 10) + b"\0\0"
    finder = shared_object(tmp_path, header.ljust(5000 + 64 * 10 - 1, b"\0"))
    assert "the file is cut short" in finder.describe()


def test_what_is_to_stay_plain_is_no_longer_asked(tmp_path):
    """The finder leaves sys.meta_path, so that imports cost what they did."""
    finder = FormFinder(str(tmp_path))
    sys.meta_path.append(finder)
    finder.stay_plain("a test says so")
    assert finder not in sys.meta_path
    assert finder.is_forced
    assert finder.describe() == "plain: a test says so"


def test_the_form_of_the_master_reaches_a_pool_before_its_runtime_does():
    """The pool's environment may be empty, so the text that it is started with says it."""
    assert bootstrap(stay_plain=False) == BOOTSTRAP
    lines = bootstrap(stay_plain=True).splitlines()
    said = next(number for number, line in enumerate(lines) if "form.stay_plain(" in line)
    assert lines[said + 1] == "from pyfpm.runtime.zygote import main"
    assert [line for line in lines if line not in BOOTSTRAP.splitlines()] == lines[
        said - 1 : said + 1
    ]


def test_no_type_of_c_is_narrower_than_a_length():
    """A C int wraps at 2³¹ without a word, and a length check would pass that must not."""
    narrow = re.compile(r"(?<!long )\b(char|short|int|unsigned|uint\d+_t|int\d+_t|long(?! long))\b")
    allowed = re.compile(r"unsigned long long|long long|int __|unsigned char\[::1\]")  # the bytes
    for file in PACKAGE.rglob("*.pxd"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            code = allowed.sub("", line.partition("#")[0])
            assert not narrow.search(code), f"{file}:{number}: {line}"


def test_compiled_code_checks_what_python_checks():
    """Each of these switched off is unchecked memory or arithmetic in C."""
    setup = (PACKAGE.parent / "setup.py").read_text()
    for directive in ("boundscheck", "nonecheck", "overflowcheck", "wraparound"):
        assert f'"{directive}": True' in setup
        for file in (*PACKAGE.rglob("*.pxd"), *PACKAGE.rglob("*.py")):
            assert f"cython.{directive}" not in file.read_text(), file
