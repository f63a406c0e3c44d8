"""What workers say at the wrong moment without having done wrong."""

from types import SimpleNamespace

from pyfpm.master.ear import Ear
from pyfpm.master.endings import RELOAD
from pyfpm.messages import BootFailed


def test_boot_that_fails_after_the_order_to_leave_breaks_no_rule():
    """A reload tells a worker to go that still imports; the import may fail all the same."""
    refused = []
    link = SimpleNamespace(refuse=refused.append)
    worker = SimpleNamespace(was_ready=False, leaves_for=RELOAD, link=link)
    Ear(SimpleNamespace()).listener(worker)(BootFailed("import failed"))
    assert refused == []
