"""A pool with an access log, and the lines that its files have."""

from harness.machine import wait_until
from harness.master import Pyfpm

POOL = """\
[pool:web]
app = torture:app
listen = unix:web.sock
pm = static
pm.max_children = 2
access.log = {log}
access.format = {form}
{more}
"""


def make_pool(more="", *, log="access.log", form="%m %r%Q%q %s %b", app="torture:app"):
    """Return the text of a pool `web` with an access log."""
    return POOL.format(more=more, log=log, form=form).replace("torture:app", app)


def start(more="", *, log="access.log", form="%m %r%Q%q %s %b", **options):
    """Return a master with that pool alone, to be entered."""
    return Pyfpm(make_pool(more, log=log, form=form), **options)


def lines_of(*files):
    """Return the lines of the files that there are, one file after the other."""
    return [line for file in files if file.exists() for line in file.read_text().splitlines()]


def wait_for_lines(file, count):
    """Wait for so many lines; a worker writes one a moment after the client has its answer."""
    wait_until(lambda: len(lines_of(file)) >= count)
    return lines_of(file)
