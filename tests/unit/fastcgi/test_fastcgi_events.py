"""Events as values."""

import pytest

from pyfpm.fastcgi import Data, Send, Stdin, StdinEnd


def test_events_of_the_same_fields_are_equal():
    """Equality is by class and fields."""
    assert Stdin(1, b"a") == Stdin(1, b"a")
    assert Stdin(1, b"a") != Stdin(2, b"a")
    assert Stdin(1, b"a") != Data(1, b"a")
    assert Send(b"a") != Send(b"a", close=True)


def test_event_shows_its_fields():
    """A failed comparison is readable."""
    assert repr(StdinEnd(7)) == "StdinEnd(request_id=7)"


def test_events_take_no_other_attributes():
    """Slots keep them small, and a misspelt field is an error."""
    with pytest.raises(AttributeError):
        StdinEnd(7).data = b""
