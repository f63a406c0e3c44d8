"""The variables of systemd: read once, removed, and written anew for the same process."""

import os

import pytest

from pyfpm.master.activation import PassedSockets
from pyfpm.master.notifier import Notifier

OURSELVES = str(os.getpid())


def test_notifier_takes_its_variables_out_of_the_environment():
    """Whoever inherits the environment is not the service."""
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": OURSELVES, "A": "b"}
    assert Notifier.from_environment(environ).is_heard
    assert environ == {"A": "b"}


@pytest.mark.parametrize("pid", ["", OURSELVES])
def test_notifier_gives_its_variables_back_for_an_exec(pid):
    """The next image of this process speaks to the same service manager."""
    environ = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": pid}
    notifier = Notifier.from_environment(environ)
    again = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": OURSELVES}
    assert notifier.environment() == again
    assert Notifier.from_environment(again).environment() == notifier.environment()


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": ""},
        {},
    ],
)
def test_no_watchdog_where_none_is_meant_for_this_process(environ):
    """Another process's watchdog, or none that can be understood."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "@x", **environ})
    assert notifier.environment() == {"NOTIFY_SOCKET": "@x"}


def test_without_a_service_manager_nothing_is_said():
    """Every call is possible and does nothing, without a loop too."""
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1"})
    assert not notifier.is_heard
    notifier.watch()
    notifier.reloading()
    notifier.status("all is well")
    notifier.ready()
    notifier.stopping()
    notifier.close()
    assert notifier.environment() == {}


def test_passed_sockets_take_their_variables_out_of_the_environment():
    """Also those that were meant for another process."""
    for pid in (OURSELVES, "1"):
        environ = {
            "LISTEN_PID": pid,
            "LISTEN_FDS": "0",
            "LISTEN_FDNAMES": "",
            "LISTEN_PIDFDID": "7",
            "A": "b",
        }
        PassedSockets.from_environment(environ)
        assert environ == {"A": "b"}


@pytest.mark.parametrize(
    "environ",
    [
        {"LISTEN_PID": "1", "LISTEN_FDS": "2"},
        {"LISTEN_PID": OURSELVES, "LISTEN_FDS": "many"},
        {"LISTEN_PID": OURSELVES, "LISTEN_FDS": "0"},
        {"LISTEN_PID": OURSELVES},
        {"LISTEN_FDS": "2"},
    ],
)
def test_no_sockets_where_none_are_meant_for_this_process(environ):
    """LISTEN_PID decides; descriptors of others are not touched."""
    passed = PassedSockets.from_environment(environ)
    assert passed.descriptors == ()
    assert passed.environment() == {}


def test_passed_sockets_are_given_back_for_an_exec():
    """With the names in the order of the descriptors."""
    passed = PassedSockets({3: "web", 4: "api", 5: "web"})
    assert passed.descriptors == (3, 4, 5)
    assert passed.environment() == {
        "LISTEN_PID": OURSELVES,
        "LISTEN_FDS": "3",
        "LISTEN_FDNAMES": "web:api:web",
    }


def test_unused_sockets_are_each_named_once():
    """What no pool listens on."""
    passed = PassedSockets({3: "web", 4: "api", 5: "api"})
    assert passed.unused({"web"}) == ["api"]
    assert passed.unused({"web", "api", "other"}) == []
