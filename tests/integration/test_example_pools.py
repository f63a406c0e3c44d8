"""pools.d/ and the configurations that include it: each pool runs as it stands there."""

import re
import shutil

import pytest
from harness.fcgi_client import fetch
from harness.machine import (
    EXAMPLES,
    IS_ROOT,
    REPOSITORY,
    find_pool_python,
    free_port,
    make_venv,
    wait_until,
)
from harness.master import Pyfpm, run_pyfpm

TCP_ADDRESS = f"127.0.0.1:{free_port()}"
DJANGO = ["django", "asgiref", "sqlparse"]
POOLS = sorted(path.stem for path in (REPOSITORY / "pools.d").glob("*.conf"))


def prepare(folder):
    """Lay the folder out as the repository is; no other port than a free one is taken."""
    shutil.copytree(REPOSITORY / "pools.d", folder / "pools.d")
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    make_venv(folder / "build" / "django-venv", *DJANGO)
    tcp = folder / "pools.d" / "tcp.conf"
    text = tcp.read_text()
    assert "listen = 127.0.0.1:9010" in text
    tcp.write_text(text.replace("127.0.0.1:9010", TCP_ADDRESS))
    for path in (folder / "pools.d").glob("*.conf"):
        # Two databases of a test must not be those of somebody who tries the examples.
        path.write_text(path.read_text().replace("/tmp/pyfpm-", f"{folder}/data/"))
    (folder / "data").mkdir()
    (folder / "data").chmod(0o777)


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm("[include]\nfiles = pools.d/*.conf", prepare=prepare) as running:
        yield running


def address_of(fpm, pool: str) -> str:
    return TCP_ADDRESS if pool == "tcp" else fpm.address(f"run/{pool}.sock")


EXPECTED = {
    "hello": b"Hello from pyfpm!",
    "tcp": b"Hello from pyfpm!",
    "ondemand": b"Guest book",
    "django": b"<h1>Notes</h1>",
}


def test_every_example_pool_is_tested():
    """A new file in pools.d needs a line here."""
    assert set(POOLS) == EXPECTED.keys()


@pytest.mark.parametrize("pool", POOLS)
def test_an_example_pool_serves_its_page(fpm, pool):
    """Each pool answers at the address its file names."""
    if pool == "ondemand" and find_pool_python():
        pytest.skip("the pool's user cannot reach this clone's .venv")
    response = fetch(address_of(fpm, pool), "/")
    assert response.status == 200
    assert EXPECTED[pool] in response.body


def test_the_example_of_an_ondemand_pool_starts_without_a_worker(fpm):
    """No worker before the first request, one for it; the status says so."""
    assert fpm.status("ondemand")["process manager"] == "ondemand"
    assert fpm.status("ondemand")["total processes"] <= 1


def test_the_example_of_a_tcp_pool_answers_pings(fpm):
    """ping.path of the TCP pool, and a fixed number of workers."""
    assert fetch(TCP_ADDRESS, "/fpm-ping").body == b"pong"
    assert wait_until(lambda: fpm.status("tcp")["total processes"]) == 2


def test_the_example_of_a_status_page_answers(fpm):
    """pm.status_path of the hello pool speaks PHP-FPM's text."""
    body = fetch(address_of(fpm, "hello"), "/fpm-status").body.decode()
    assert re.search(r"^pool: +hello$", body, re.MULTILINE)


@pytest.mark.parametrize("file", ["pyfpm.conf", "scripts/all-pools.conf"])
def test_the_configurations_of_the_repository_include_what_they_say(file):
    """The pools that they name are found, and nothing in them is misspelt."""
    done = run_pyfpm("-c", REPOSITORY / file, "check")
    # A venv that is not built and a clone that the pool's user cannot enter are no misspellings.
    problems = [
        line
        for line in done.stderr.splitlines()
        if re.search(r"^/.*:\d+: ", line)
        and not re.search(r"django-venv|cannot enter|permission", line)
    ]
    if file == "pyfpm.conf" and (not IS_ROOT or find_pool_python() is None):
        assert done.returncode == 0, done.stderr
    assert not problems


def test_the_examples_have_no_notice(fpm, as_root):
    """Neither in `check` nor in the log of the start: it would be wrong, or the example would."""
    done = fpm.command("check")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "[pool:" not in fpm.log.text()
