"""What README and docs say is there, is there."""

import re
from pathlib import Path

import pytest
from harness.machine import REPOSITORY

from pyfpm.cli.program import COMMANDS, UNSUPPORTED
from pyfpm.config import find_option, load_text

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
# A page that is generated from the very table that this test would compare it with.
WRITTEN = [page for page in PAGES if page.name not in {"options.md", "cli.md"}]


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    """Relative links name files of the repository."""
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_configuration_in_the_docs_is_accepted(page, tmp_path):
    """Pool files on the pages are files that pyfpm takes."""
    for block in blocks(page, "ini"):
        text = block.replace("files = pools.d/*.conf", "files = *.nothing")
        if "[pool:" not in text:
            text += "[pool:other]\napp = other:app\nlisten = /run/other.sock\n"
        load_text(text, str(tmp_path / "page.conf"), {}, is_root=True, check_system=False)


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_command_in_the_docs_exists(page):
    """`pyfpm NAME` on a page is a command, or says that it is not supported yet."""
    commands = {*COMMANDS, *UNSUPPORTED}
    for block in blocks(page, "sh"):
        for name in re.findall(r"(?:^|[ /])pyfpm ([a-z-]+)", block, re.MULTILINE):
            assert name in commands, name


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_make_target_in_the_docs_exists(page):
    """`make NAME` on a page is a target of the Makefile."""
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for block in blocks(page, "sh"):
        for name in re.findall(r"^make ([a-z]+)", block, re.MULTILINE):
            assert name in targets, name


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_option_in_the_docs_exists(page):
    """Dotted keys in backticks are options of the table."""
    for name in re.findall(
        r"`((?:pm|listen|ping|preload|request|control)\.[a-z_]+)", page.read_text()
    ):
        assert find_option(name), name


def test_every_file_in_the_map_of_the_code_exists():
    """The design page sends nobody to a file that has moved."""
    text = (REPOSITORY / "docs" / "explanation" / "design.md").read_text()
    for name in re.findall(r"`([a-z]+/[a-z_]+\.py)`", text):
        assert (REPOSITORY / "pyfpm" / name).exists() or (REPOSITORY / name).exists(), name


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_test_that_a_page_names_exists(page):
    """A bound is said with the test that shows it, and the test is there."""
    names = set(re.findall(r"`(test_[a-z_]+)`", page.read_text()))
    if names:
        sources = "\n".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
        assert names <= set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
