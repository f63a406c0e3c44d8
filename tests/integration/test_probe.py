"""The try at an interpreter that `pyfpm check` makes as root; the file may be the pool user's."""

import os

from pyfpm.config import load_text
from pyfpm.master.probe import probe_pools

SPY = """#!/bin/sh
read -r pid name state parent group session rest < /proc/self/stat
echo "session $session" >&2
exit 3
"""


def test_interpreter_that_is_tried_has_no_terminal_of_root(tmp_path):
    """Who shares root's session may open its terminal, read what is typed there and type more."""
    spy = tmp_path / "spy"
    spy.write_text(SPY)
    spy.chmod(0o755)
    text = f"""
[pyfpm]
[pool:shop]
app = hello:app
python = {spy}
directory = {tmp_path}
listen = {tmp_path}/shop.sock
"""
    path = str(tmp_path / "pyfpm.conf")
    config = load_text(text, path, {}, is_root=True, allow_root=True, check_system=False)
    (problem,) = probe_pools(config)
    (session,) = [word for word in problem.message.split() if word.isdecimal() and len(word) > 1]
    assert int(session) != os.getsid(0)
