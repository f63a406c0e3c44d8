"""The configuration: any text is a configuration, or a list of problems that say where."""

import atexit
import os
import re
import shutil
import tempfile

from fuzz.choices import Choices

from pyfpm.config import Config, load_text, render_dump, restore_main, restore_pool
from pyfpm.config import snapshot_options as snapshot
from pyfpm.errors import ConfigError

ENVIRON = {"HOME": "/root", "BOMB": "%(ENV_BOMB)s%(ENV_BOMB)s", "EMPTY": "", "PORT": "9000"}
BETWEEN_FILES = b"\n;;; file\n"
# What follows the main file in an input are files of this folder, beside it.
FOLDER = tempfile.mkdtemp(prefix="pyfpm-fuzz-")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
# Patterns that leave the folder would read this machine's files, and walk through all of them.
_LEAVES = re.compile(rb"files\s*[=:][^\n]*(?:/|\.\.|%)|\n\s+\S*(?:/|\.\.)", re.IGNORECASE)


def fuzz_configuration(data: bytes) -> None:
    """Every step from text to values, except looking at this machine."""
    choices = Choices(data)
    is_root, allow_root = choices.flag(), choices.flag()
    main, *others = choices.rest().split(BETWEEN_FILES)[:4]
    if re.search(rb"\[\s*include", main) and _LEAVES.search(main):
        return
    files = [os.path.join(FOLDER, f"{number}.part") for number in range(len(others))]
    for file, content in zip(files, others, strict=True):
        with open(file, "wb") as stream:
            stream.write(content)
    try:
        config = load_text(
            main.decode("utf-8", "surrogateescape"),
            os.path.join(FOLDER, "main.conf"),
            ENVIRON,
            is_root=is_root,
            allow_root=allow_root,
            check_system=False,
        )
    except ConfigError as error:
        check_problems(error)
        if all(is_utf_8(part) for part in (main, *others)):
            check_no_word_of_utf_8(str(error))
    else:
        check_values(config)
    finally:
        for file in files:
            os.unlink(file)


def is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_no_word_of_utf_8(text: str) -> None:
    """What every editor shows is not called unreadable."""
    assert "not UTF-8" not in text


def check_problems(error: ConfigError) -> None:
    """Each says in which file, and in which line if there is one."""
    assert error.problems
    for problem in error.problems:
        assert problem.file, problem
        assert problem.message, problem
        assert problem.line is None or problem.line >= 1, problem
        assert str(problem).startswith(problem.file)


def check_values(config: Config) -> None:
    """What was accepted can be shown, and survives an upgrade."""
    assert config.pools
    assert render_dump(config)
    assert restore_main(snapshot(config.main)) == config.main
    for name, pool in config.pools.items():
        assert pool.name == name
        assert restore_pool(name, snapshot(pool)) == pool
