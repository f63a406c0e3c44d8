"""What `pyfpm check --sandbox` prints of names that the pool's user has chosen."""

from types import SimpleNamespace

from pyfpm.cli.check import render_trial
from pyfpm.config import Sandbox
from pyfpm.master import Finding, Trial


def test_names_of_files_do_not_act_on_the_terminal():
    """The links in the application's folder may have any name, no UTF-8 included."""
    path = "/srv/a\x1b]0;root\x07\u202e\udcff\nworks:"
    findings = (Finding(path, f"link: {path}", "r", "r", ""),)
    options = SimpleNamespace(name="shop", sandbox=Sandbox.ON, environment=())
    text = "|".join(render_trial(options, Trial(7, "ann", findings)))
    assert text.isprintable()
    assert text.encode()


def test_what_a_variable_names_and_the_sandbox_makes_read_only_is_told_apart():
    """A database would work until somebody writes; what the pool lists itself is meant so."""
    findings = (
        Finding("/srv/db", "environment: DB (f:3)", "r", "rw", "r"),
        Finding("/srv/media", "sandbox.read", "r", "rw", "r"),
        Finding("/srv/fixed", "environment: FIXED", "r", "r", "r"),
    )
    options = SimpleNamespace(name="shop", sandbox=Sandbox.ON, environment=())
    text = "\n".join(render_trial(options, Trial(7, "ann", findings)))
    title = "can be read and not written; list the folder in sandbox.write if it is to be written:"
    _, _, rest = text.partition(f"\n{title}\n")
    listed, _, works = rest.partition("\n\nworks:\n")
    assert listed.split() == ["write", "/srv/db", "(environment:", "DB", "(f:3))"]
    assert all(path in works for path in ("/srv/db", "/srv/media", "/srv/fixed", "$TMPDIR"))


def test_what_can_not_even_be_read_is_not_called_readable():
    """The home of a pool's user that no list has: once, and not once more as merely read-only."""
    findings = (Finding("/home/shop", "environment: HOME", "r", "rw", ""),)
    options = SimpleNamespace(name="shop", sandbox=Sandbox.ON, environment=())
    text = "\n".join(render_trial(options, Trial(7, "ann", findings)))
    assert "refused by the sandbox" in text
    assert "can be read and not written" not in text
    assert text.count("/home/shop") == 1


def test_temporary_folder_of_the_pools_own_is_not_called_a_private_one():
    """A pool that sets TMPDIR gets that and no other."""
    options = SimpleNamespace(
        name="shop", sandbox=Sandbox.ON, environment=(("TMPDIR", "/var/tmp"),)
    )
    text = "\n".join(render_trial(options, Trial(7, "ann", ())))
    assert "private folder" not in text
