"""From options to the boot document and the environment of the import."""

from socket import AF_INET, AF_UNIX
from types import SimpleNamespace

import pytest
from pool_options import make_options

from pyfpm.config import TcpAddress, UnixAddress
from pyfpm.master.identity import Identity
from pyfpm.master.listeners import Listener
from pyfpm.master.plans import make_boot_document, preload_of, zygote_environment
from pyfpm.messages import InheritedDescriptor
from pyfpm.messages.boot import decode_boot_document

NOBODY = Identity(None, None, (), "", "", None, True)
# A boot document is made of addresses and numbers: the sockets are not looked at.
UNIX = Listener(
    "/tmp/shop.sock",
    SimpleNamespace(family=AF_UNIX),
    "/tmp/shop.sock",
    (0, 0),
    UnixAddress("/tmp/shop.sock"),
)
TCP = Listener(
    "127.0.0.1:9000", SimpleNamespace(family=AF_INET), None, (0, 0), TcpAddress("127.0.0.1", 9000)
)


def make_document(options, listeners=(), **changes):
    values = {
        "allowed_uids": (33, 1000),
        "generation": 3,
        "slots": 256,
        "preload": None,
        "process_control_timeout_s": 30.0,
        "numerics": ("OMP_NUM_THREADS",),
    }
    return make_boot_document(options, list(listeners), **{**values, **changes})


def test_document_says_what_the_options_say(tmp_path):
    """A limit that is not passed on would be accepted and ignored."""
    options = make_options(
        tmp_path,
        "listen = /tmp/shop.sock",
        "request_buffer_size = 11",
        "request_buffer_total = 12",
        "request_max_body = 13",
        "request_max_params = 14000",
        "request_header_timeout = 15",
        "request_body_timeout = 16",
        "response_write_timeout = 17",
        "keepalive_timeout = 18",
        "keepalive_max_requests = 19",
        "pm.max_connections = 20",
        "pm.max_children = 21",
        "pm.status_path = /status",
        "ping.path = /ping",
        "ping.response = alive",
        "pm.minder = no",
        "mount = /shop",
    )
    document = make_document(options)
    limits = document.limits
    assert [limits.buffer_size_bytes, limits.buffer_total_bytes, limits.max_body_bytes] == [
        11,
        12,
        13,
    ]
    assert (limits.max_params_bytes, limits.header_timeout_s) == (14000, 15)
    assert (limits.body_timeout_s, limits.write_timeout_s) == (16, 17)
    assert (limits.keepalive_timeout_s, limits.keepalive_max_requests) == (18, 19)
    assert (limits.max_connections, document.max_children) == (20, 21)
    assert (document.status_path, document.ping_path) == ("/status", "/ping")
    assert (document.ping_response, document.minder, document.mount) == ("alive", False, "/shop")
    assert (document.app_module, document.app_attribute) == ("shop", "app")
    assert document.app_origin == f"{tmp_path}/pyfpm.conf:2"
    assert (document.generation, document.slots, document.pool) == (3, 256, "shop")
    assert document.single_threaded_numerics == ("OMP_NUM_THREADS",)


def test_document_of_real_options_survives_the_journey(tmp_path):
    """Every value is of a kind that JSON brings back."""
    options = make_options(
        tmp_path, "listen = 127.0.0.1:9000", "listen.allowed_clients = 10.0.0.0/8"
    )
    document = make_document(options, [UNIX, TCP])
    assert decode_boot_document(document.encode()) == document


def test_listeners_are_numbered_in_order_and_have_the_list_of_their_kind(tmp_path):
    """A Unix peer has no address that a network could hold, and a TCP peer no user."""
    options = make_options(
        tmp_path,
        "listen = /tmp/shop.sock, 127.0.0.1:9000",
        "listen.allowed_clients = 10.0.0.0/8, ::1",
    )
    unix, tcp = make_document(options, [UNIX, TCP]).listeners
    assert (unix.descriptor, tcp.descriptor) == (
        InheritedDescriptor.LISTENERS,
        InheritedDescriptor.LISTENERS + 1,
    )
    assert (unix.is_tcp, unix.allowed, unix.allowed_users) == (False, (), (33, 1000))
    assert (tcp.is_tcp, tcp.allowed, tcp.allowed_users) == (True, ("10.0.0.0/8", "::1/128"), ())


@pytest.mark.parametrize(("word", "preload"), [("auto", None), ("on", True), ("off", False)])
def test_preload_words(tmp_path, word, preload):
    """None is what lets the zygote decide."""
    options = make_options(tmp_path, "listen = /tmp/shop.sock", f"preload = {word}")
    assert preload_of(options) is preload


def test_numeric_libraries_get_one_thread_for_the_import(tmp_path):
    """Their threads would not survive the fork; the zygote takes the variables back."""
    options = make_options(tmp_path, "listen = /tmp/shop.sock", 'environment = OMP_NUM_THREADS="4"')
    environment, numerics = zygote_environment(options, NOBODY, preload=None)
    assert "OPENBLAS_NUM_THREADS" in numerics
    assert {environment[name] for name in numerics} == {"1"}
    assert (environment["OMP_NUM_THREADS"], "OMP_NUM_THREADS" in numerics) == ("4", False)


def test_environment_is_left_alone_without_preload(tmp_path):
    """A worker that imports for itself may have its threads."""
    options = make_options(tmp_path, "listen = /tmp/shop.sock")
    environment, numerics = zygote_environment(options, NOBODY, preload=False)
    assert numerics == ()
    assert not any(name.endswith("_NUM_THREADS") for name in environment)
