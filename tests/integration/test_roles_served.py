"""Requests in other roles than that of a responder, and what becomes of them in a pool."""

import json

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm

from pyfpm.fastcgi import EndRequest, ProtocolStatus, Role, encode_request

POOLS = """
[pool:one]
app = torture:app
listen = %(here)s/one.sock
pm = static
pm.max_children = 1
path_info = request_uri
ping.path = /pool/ping
pm.status_path = /pool/status
"""


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS) as running:
        yield running


def ask(fpm, uri, role, **options):
    """One request in this role; return the response."""
    with FcgiClient(fpm.address("one.sock")) as client:
        client.send(encode_request(1, make_params(uri, **options), role=role))
        return client.response()


def settled_status(fpm):
    """The pool's status once its worker is idle: a request counts a moment after its answer."""

    def settled():
        status = fpm.pool_status("one")
        return status if status["idle processes"] == 1 else None

    return wait_until(settled)


@pytest.mark.parametrize("role", [0, Role.FILTER, 4, 65_535])
def test_unknown_role_is_answered_counted_and_logged(fpm, role):
    """UNKNOWN_ROLE to the peer, a line with pool and sender, a refusal by reason in the status."""
    before, mark = settled_status(fpm), fpm.log.mark()
    with FcgiClient(fpm.address("one.sock")) as client:
        client.send(encode_request(1, make_params("/pid"), role=role))
        (answer,) = [event for event in client.events() if isinstance(event, EndRequest)]
        assert answer == EndRequest(1, 0, ProtocolStatus.UNKNOWN_ROLE)
        assert client.is_closed_by_peer()
    after = settled_status(fpm)
    assert after["refusals"]["bad_request"] == before["refusals"]["bad_request"] + 1
    assert after["accepted conn"] == before["accepted conn"]
    said = rf"\[pool one\] child \d+: request refused with UNKNOWN_ROLE: role {int(role)} is not"
    fpm.log.wait_for(said + r" served \(from pid \d+ of uid \d+\)", since=mark)
    assert fetch(fpm.address("one.sock"), "/pid").status == 200


def test_authorizer_is_served_and_the_application_is_told(fpm):
    """Or it would answer 200 to a question that it does not know of."""
    environ = json.loads(ask(fpm, "/environ", Role.AUTHORIZER).body)
    assert environ["FCGI_ROLE"] == "AUTHORIZER"
    environ = json.loads(ask(fpm, "/environ", Role.RESPONDER).body)
    assert "FCGI_ROLE" not in environ


def test_authorizer_has_no_body_whatever_length_is_passed_on(fpm):
    """Of the request that it is asked about, not of its own."""
    response = ask(fpm, "/length", Role.AUTHORIZER, method="POST", body=b"x" * 500)
    assert response.status == 200
    assert json.loads(response.body)["read"] == 0


@pytest.mark.parametrize("path", ["/pool/ping", "/pool/status"])
def test_pages_of_the_pool_authorize_nothing(fpm, path):
    """A 200 of theirs would say that this path may be served to anybody."""
    assert ask(fpm, path, Role.RESPONDER).status == 200
    assert ask(fpm, path, Role.AUTHORIZER).status == 404
