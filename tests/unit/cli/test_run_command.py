import click
import pytest

from pyfpm.cli.run import check_app, parse_listen, render_config
from pyfpm.config import TcpAddress, UnixAddress, load_text
from pyfpm.front import FrontUser
from pyfpm.policy import ProcessManager


@pytest.mark.parametrize("app", ["hello:app", "my.site.wsgi:application", "a:b.c"])
def test_module_and_callable_are_accepted(app):
    """The contract's form, attribute paths included."""
    check_app(app)


@pytest.mark.parametrize(
    ("app", "guess"),
    [
        ("hello", "hello:app"),
        ("hello.py", "hello:app"),
        ("./hello.py", "hello:app"),
        ("hello.py:main", "hello:main"),
        ("src/site/wsgi.py:application", "src.site.wsgi:application"),
        ("hello:", "hello:app"),
    ],
)
def test_other_form_is_refused_with_what_was_meant(app, guess):
    """File names and missing callables are common; the message shows the right form."""
    with pytest.raises(click.BadParameter, match=f"did you mean {guess}?"):
        check_app(app)


def test_hopeless_form_is_refused_without_a_guess():
    """No guess is better than a wrong one."""
    with pytest.raises(click.BadParameter, match=r"is not module:callable$"):
        check_app("???")


@pytest.mark.parametrize("user", [None, FrontUser("nobody", 65534, 65534)])
def test_configuration_of_run_is_accepted_and_says_what_was_asked(user):
    """One static pool on a socket that admits the front end's user alone."""
    text = render_config("hello:app", "/tmp/x", workers=3, interface="auto", user=user)
    config = load_text(text, "<run>", {}, is_root=False, check_system=False)
    assert list(config.pools) == ["app"]
    pool = config.pools["app"]
    assert str(pool.app) == "hello:app"
    assert pool.listen == (UnixAddress("/tmp/x/app.sock"),)
    assert pool.listen_mode == 0o600
    assert pool.listen_owner == (None if user is None else "65534")
    assert (pool.pm, pool.pm_max_children) == (ProcessManager.STATIC, 3)
    assert pool.clear_env is False
    assert config.main.control == "/tmp/x/control.sock"


@pytest.mark.parametrize(
    ("listen", "host"),
    [("8080", "127.0.0.1"), ("localhost:8080", "localhost"), ("*:8080", ""), ("[::1]:8080", "::1")],
)
def test_only_an_explicit_host_leaves_the_loopback(listen, host):
    """A port alone is served to this machine only."""
    assert parse_listen(listen) == TcpAddress(host, 8080)
