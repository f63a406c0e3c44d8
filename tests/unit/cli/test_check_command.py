"""What `pyfpm check --sandbox` prints of names that the pool's user has chosen."""

from types import SimpleNamespace

from pyfpm.cli.check import render_trial
from pyfpm.config import Sandbox
from pyfpm.master import Finding, Trial


def test_names_of_files_do_not_act_on_the_terminal():
    """The links in the application's folder may have any name, no UTF-8 included."""
    path = "/srv/a\x1b]0;root\x07\u202e\udcff\nworks:"
    findings = (Finding(path, f"link: {path}", "r", "r", ""),)
    options = SimpleNamespace(name="shop", sandbox=Sandbox.ON)
    text = "|".join(render_trial(options, Trial(7, "ann", findings)))
    assert text.isprintable()
    assert text.encode()
