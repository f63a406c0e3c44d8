"""`pyfpm upgrade` to code or a configuration that cannot serve: nothing changes."""

import pytest
from harness.fcgi_client import fetch
from harness.installed import installed
from harness.master import Pyfpm
from harness.upgrades import SHOP, assert_upgraded, body_of, both_pids


def test_new_code_with_a_syntax_error_changes_nothing() -> None:
    """The command says where; workers, pids and state are as before, and later it works."""
    with installed() as code, Pyfpm(SHOP, environ=code.environ) as service:
        before = both_pids(service)
        code.edit("master/service.py", "class Master:\n", "class Master(:\n")
        done = service.command("upgrade")
        assert done.returncode == 1
        assert "nothing has changed" in done.stderr
        assert "SyntaxError" in done.stderr
        assert "service.py" in done.stderr
        assert service.worker_pids("shop") == before
        assert service.pool_status("shop")["generation"] == 1
        body_of(fetch(service.address("shop.sock")))
        code.edit("master/service.py", "class Master(:\n", "class Master:\n")
        assert_upgraded(service.command("upgrade"))


@pytest.mark.parametrize("module", ["master/service.py", "master/resume.py", "runtime/worker.py"])
@pytest.mark.parametrize("ending", ["raise SystemExit(0)\n", "import os\nos._exit(0)\n", "(\n"])
def test_new_code_that_ends_early_changes_nothing(module: str, ending: str) -> None:
    """Exit code 0 is no proof; and the runtime belongs to the new code too."""
    with installed() as code, Pyfpm(SHOP, environ=code.environ) as service:
        before = both_pids(service)
        file = code.folder / "pyfpm" / module
        file.write_text(ending + file.read_text())
        done = service.command("upgrade")
        assert done.returncode == 1
        assert "nothing has changed" in done.stderr
        assert service.worker_pids("shop") == before
        body_of(fetch(service.address("shop.sock")))


def test_new_code_that_reads_another_state_changes_nothing() -> None:
    """Versions that do not understand each other say so."""
    with installed() as code, Pyfpm(SHOP, environ=code.environ) as service:
        before = both_pids(service)
        code.edit("master/state.py", "STATE_VERSION = 1\n", "STATE_VERSION = 20\n")
        done = service.command("upgrade")
        assert done.returncode == 1
        assert "its state in version 1, and the installed pyfpm reads 20" in done.stderr
        assert service.worker_pids("shop") == before


def test_new_code_that_cannot_restore_a_pool_changes_nothing() -> None:
    """What goes wrong with the real state goes wrong in the rehearsal, with its traceback."""
    with installed() as code, Pyfpm(SHOP, environ=code.environ) as service:
        before = both_pids(service)
        code.edit("master/demand.py", "        self._watch = OneShotWatch()\n", "        1 / 0\n")
        done = service.command("upgrade")
        assert done.returncode == 1
        assert "ZeroDivisionError" in done.stderr
        assert service.worker_pids("shop") == before
        body_of(fetch(service.address("shop.sock")))


def test_broken_configuration_refuses_the_upgrade() -> None:
    """File and line, exit code 1, and nothing has changed."""
    with Pyfpm(SHOP) as service:
        before = both_pids(service)
        text = service.config.read_text()
        service.config.write_text(text.replace("pm = static", "pm = steady"))
        line = 1 + text.splitlines().index("pm = static")
        done = service.command("upgrade")
        assert done.returncode == 1
        assert f"{service.config}:{line}: [pool:shop] pm" in done.stderr
        assert service.worker_pids("shop") == before
        service.config.write_text(text)
