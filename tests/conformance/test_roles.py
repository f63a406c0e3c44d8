"""Roles (FastCGI §3.3, §5.1, §6): what is served, what is refused, and with which bytes."""

import pytest
from conformance.wire import begin, params_stream, record

from pyfpm.fastcgi import Begin, Params, Role, Send, ServerConnection, StdinEnd

GET = (b"REQUEST_METHOD", b"GET")
EMPTY_STDIN = record(5, 1, b"")
NOT_SERVED = [0, 3, 4, 7, 255, 256, 257, 258, 65_535]
OTHER_ID = 0x0203


def refused(events):
    return [event for event in events if isinstance(event, Send)]


@pytest.mark.parametrize("role", NOT_SERVED)
def test_begin_with_a_role_that_is_not_served_is_answered_with_unknown_role(role):
    """END_REQUEST of the same id, application status 0, protocol status 3; and a fault to log."""
    (answer,) = ServerConnection().receive(begin(OTHER_ID, role=role))
    assert answer.data == b"\x01\x03\x02\x03\x00\x08\x00\x00" + b"\0\0\0\0\x03\0\0\0"
    assert answer.fault == f"role {role} is not served"


@pytest.mark.parametrize("role", NOT_SERVED)
def test_refused_request_that_keeps_its_connection_is_followed_by_one_that_is_served(role):
    """The rest of the refused one, which may be on its way already, is passed over."""
    connection = ServerConnection()
    whole = begin(1, role=role, keep_conn=True) + params_stream(1, [GET], 65_535) + EMPTY_STDIN
    (answer,) = connection.receive(whole)
    assert not answer.close
    events = connection.receive(begin(2, keep_conn=True) + params_stream(2, [GET], 65_535))
    assert events == [Begin(2, Role.RESPONDER, True), Params(2, [GET])]


def test_refused_request_that_does_not_keep_its_connection_ends_it():
    """§3.3: without FCGI_KEEP_CONN the application closes the connection after its answer."""
    (answer,) = ServerConnection().receive(begin(1, role=3))
    assert answer.close


def test_second_request_on_a_busy_connection_is_no_fault_of_its_peer():
    """CANT_MPX_CONN is how a peer learns that there is no multiplexing (§4.1)."""
    connection = ServerConnection()
    connection.receive(begin(1))
    (answer,) = refused(connection.receive(begin(2, role=7)))
    assert answer.data[12] == 1
    assert not answer.fault


def test_authorizer_is_told_from_a_responder():
    """It is complete with its parameters, and the connection says which role it was."""
    connection = ServerConnection()
    events = connection.receive(begin(1, role=2) + params_stream(1, [GET], 65_535))
    assert events == [Begin(1, Role.AUTHORIZER, False), Params(1, [GET]), StdinEnd(1)]
    assert connection.role is Role.AUTHORIZER
    connection.request_ended()
    assert connection.receive_whole(begin(1) + params_stream(1, [GET], 65_535) + EMPTY_STDIN)
    assert connection.role is Role.RESPONDER
