"""One word per thing, and file names that say what is inside."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "pyfpm"

# A drawer for everything is a place where nobody finds anything.
DRAWERS = {"base", "common", "helpers", "misc", "tools", "util", "utils"}

# Words of other servers for what has a name here.
SYNONYMS = {
    "arbiter": "master",
    "forkserver": "zygote",
    "incarnation": "generation",
    "kid": "worker",
    "prefork": "zygote",
    "slave": "worker",
    "vassal": "pool",
}

# A module with one job is rarely as long; beyond it there is a second job to find.
MOST_LINES = 400


def read_modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, path.read_text()


def find_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the names that a module gives: functions, classes, arguments, variables."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr


def split_words(name: str) -> set[str]:
    """Split snake_case and CamelCase into lower-case words."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_no_module_is_a_drawer() -> None:
    """Modules are nouns with one job."""
    assert not [path for path, _ in read_modules() if path.stem in DRAWERS]
    assert not [path for path in PACKAGE.rglob("*") if path.is_dir() and path.name in DRAWERS]


def test_no_module_is_longer_than_one_job() -> None:
    """Near 400 lines one asks what the second job is."""
    long = [path for path, source in read_modules() if source.count("\n") > MOST_LINES]
    assert not long


def test_no_name_is_a_synonym() -> None:
    """The code calls a thing what the documentation calls it."""
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {name}: say {SYNONYMS[word]}, not {word}"
        for path, source in read_modules()
        for line, name in find_names(source)
        for word in split_words(name) & SYNONYMS.keys()
    ]
    assert not found, "\n".join(found)


def test_a_synonym_in_a_name_is_found() -> None:
    """The rule can fail, in either way of writing names."""
    names = [name for _, name in find_names("class KidPool:\n    def end_slave(self): ...\n")]
    assert names == ["KidPool", "end_slave", "self"]
    assert split_words("KidPool") == {"kid", "pool"}
    assert split_words("end_slave") & SYNONYMS.keys() == {"slave"}
    assert split_words("HTTPKid") == {"http", "kid"}
