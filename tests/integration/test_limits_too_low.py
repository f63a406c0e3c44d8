"""A limit that leaves no room to start is named by who says that a pool does not start."""

import pytest
from harness.machine import IS_ROOT
from harness.master import Pyfpm, run_pyfpm

POOL = """
[pool:{name}]
app = {app}
listen = %(here)s/{name}.sock
pm = static
pm.max_children = 1
{lines}
"""
GREEDY = """\
kept = bytearray(400 << 20)

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"had it"]
"""


def pool(name, *lines, app="hello:app"):
    return POOL.format(name=name, app=app, lines="\n".join(lines))


def line_of(fpm, text):
    return fpm.config.read_text().splitlines().index(text) + 1


@pytest.mark.parametrize("limit", ["1", "10M"])
def test_interpreter_without_room_to_start_names_the_limit(limit):
    """In `check` at the key's own line, at the start, and at a reload; not at another pool."""
    lines = f"rlimit_as = {limit}"
    with Pyfpm(pool("low", lines) + pool("well", "rlimit_as = 4G")) as fpm:
        done = fpm.command("check")
        assert done.returncode == 78
        (problem,) = done.stderr.splitlines()
        place = f"{fpm.config}:{line_of(fpm, lines)}: [pool:low] rlimit_as: "
        assert problem.startswith(f"{place}{limit} is too little to start in: ")
        assert f"({lines} is the likely cause: raise it)" in fpm.log.text()
        done = fpm.command("reload", "low")
        assert done.returncode == 1
        assert f"({lines} is the likely cause: raise it)" in done.stderr
        fpm.config.write_text(fpm.config.read_text().replace(lines, "rlimit_as = 4G"))
        assert fpm.command("check").returncode == 0
        assert fpm.command("reload", "low").returncode == 0


def test_application_without_room_to_import_names_the_limit():
    """Its traceback ends with a MemoryError, which says nothing of limits."""
    text = pool("low", "rlimit_as = 300M", app="greedy:app")
    with Pyfpm(text + pool("well"), files={"greedy.py": GREEDY}) as fpm:
        fpm.log.wait_for(r"MemoryError \(rlimit_as = 300M is the likely cause: raise it\)")


def test_no_room_at_all_is_refused_with_its_line():
    """0 means no limit for many keys, and the opposite here."""
    with Pyfpm(pool("well")) as fpm:
        fpm.config.write_text(fpm.config.read_text() + "rlimit_as = 0\n")
        done = fpm.command("check")
        assert done.returncode == 78
        line = line_of(fpm, "rlimit_as = 0")
        assert f"{fpm.config}:{line}: [pool:well] rlimit_as: 0 leaves no process" in done.stderr


@pytest.mark.skipif(not IS_ROOT, reason="becoming another user needs root")
def test_user_who_checks_without_root_learns_it_too():
    """A limit can be lowered by everybody, so everybody can try it."""
    with Pyfpm(pool("well", "user = nobody", "rlimit_as = 4G")) as fpm:
        become = {"user": 65534, "group": 65534, "extra_groups": []}
        text = fpm.config.read_text()
        for limit, code in (("4G", 0), ("10M", 78)):
            fpm.config.write_text(text.replace("rlimit_as = 4G", f"rlimit_as = {limit}"))
            done = run_pyfpm("-c", fpm.config, "check", **become)
            assert done.returncode == code, done.stderr
            assert ("is too little to start in" in done.stderr) == (code == 78)
