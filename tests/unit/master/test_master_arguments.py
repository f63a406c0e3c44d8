"""What a control command may be given."""

import pytest

from pyfpm.errors import ControlError
from pyfpm.master.arguments import Arguments, check_pools


def test_expected_arguments_are_taken_as_sent():
    """Every kind of argument comes out with its value."""
    arguments = Arguments(
        {"pool": "shop", "pools": ["a", "b"], "now": True, "workers": 3, "pid": 7, "format": "json"}
    )
    assert arguments.text("pool") == "shop"
    assert arguments.names("pools") == ("a", "b")
    assert arguments.flag("now") is True
    assert arguments.number("workers") == 3
    assert arguments.optional_number("pid") == 7
    assert arguments.optional_text("format") == "json"
    arguments.end()


def test_absent_and_null_arguments_have_their_defaults():
    """A client may leave out what is optional, or say null."""
    arguments = Arguments({"pid": None, "format": None})
    assert arguments.flag("now") is False
    assert arguments.names("pools") == ()
    assert arguments.optional_number("pid") is None
    assert arguments.optional_number("other") is None
    assert arguments.optional_text("format") is None
    arguments.end()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("flag", 1),
        ("flag", None),
        ("flag", "yes"),
        ("text", None),
        ("text", ""),
        ("text", 7),
        ("text", ["shop"]),
        ("optional_text", 7),
        ("optional_text", ""),
        ("number", None),
        ("number", 0),
        ("number", -1),
        ("number", True),
        ("number", 1.0),
        ("number", "1"),
        ("optional_number", 0),
        ("names", "shop"),
        ("names", {"shop": 1}),
        ("names", None),
        ("names", [""]),
        ("names", ["shop", 7]),
        ("names", [["shop"]]),
        ("names", ["shop", "blog", "shop"]),
    ],
)
def test_wrong_argument_is_refused_as_usage_and_named(kind, value):
    """Types are not converted, and no pool is named twice."""
    with pytest.raises(ControlError, match="x") as caught:
        getattr(Arguments({"x": value}), kind)("x")
    assert caught.value.exit_code == 64


def test_argument_that_nobody_expects_is_refused():
    """A newer client's wish is not ignored silently."""
    arguments = Arguments({"pool": "shop", "gently": True})
    arguments.text("pool")
    with pytest.raises(ControlError, match="'gently'") as caught:
        arguments.end()
    assert caught.value.exit_code == 64


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (["shop", "blog"], "no pool 'shopp'; there are: shop, blog; did you mean shop?"),
        (["a", "b"], "no pool 'shopp'; there are: a, b"),
        ([], "no pool 'shopp'; there is none"),
    ],
)
def test_unknown_pool_names_those_that_there_are(known, message):
    """A misspelt pool is a failure with the right names, and the likeliest first."""
    with pytest.raises(ControlError) as caught:
        check_pools(["shopp"], known)
    assert str(caught.value) == message
    assert caught.value.exit_code == 64


def test_known_pools_pass():
    """No pool and every pool there is are fine."""
    check_pools([], [])
    check_pools(["b", "a"], {"a": 1, "b": 2})


def test_every_unknown_pool_is_named_at_once():
    """With what each was meant to be."""
    with pytest.raises(ControlError) as caught:
        check_pools(["shopp", "shop", "bolg", "shopp"], ["shop", "blog"])
    assert str(caught.value) == (
        "no pool 'shopp', 'bolg'; there are: shop, blog; did you mean shop, blog?"
    )
