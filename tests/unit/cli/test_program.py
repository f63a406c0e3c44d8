import click
import pytest

from pyfpm.cli import main
from pyfpm.cli.program import COMMANDS, CommandTable
from pyfpm.cli.unsupported import UNSUPPORTED
from pyfpm.errors import ConfigError, ControlError, Problem, PyfpmError
from pyfpm.form import form

# Section 1 of the contract, and the commands that it announces for later.
CONTRACT_COMMANDS = [
    *("run", "start", "check", "status", "top", "reload", "restart", "stop", "start-pool"),
    *("scale", "trace", "logs", "reopen-logs", "upgrade", "ping", "request", "nginx-conf"),
    *("apache-conf", "options", "init", "dashboard", "convert", "advise", "schema"),
]


@pytest.fixture
def failing(monkeypatch):
    """Lets `pyfpm fail` raise the exception that the test gives."""

    def install(error):
        @click.command("fail")
        def command():
            raise error

        monkeypatch.setattr(
            CommandTable,
            "get_command",
            lambda self, ctx, name: command if name == "fail" else None,
        )

    return install


def test_every_command_of_the_contract_is_listed(capsys):
    """The help names all commands, and marks those that are not built."""
    assert main(["--help"]) == 0
    listed = {}
    for line in capsys.readouterr().out.splitlines():
        words = line.split()
        if words and line.startswith("  ") and words[0] in CONTRACT_COMMANDS:
            listed[words[0]] = line
    assert sorted(listed) == sorted(CONTRACT_COMMANDS) == sorted([*COMMANDS, *UNSUPPORTED])
    for name, line in listed.items():
        assert ("(not supported yet)" in line) == (name in UNSUPPORTED)


@pytest.mark.parametrize("name", CONTRACT_COMMANDS)
def test_help_of_every_command_has_an_example(name, capsys):
    """Each help page ends with a line that can be copied, and fits the terminal."""
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    _, _, examples = out.partition("\n  Example")
    assert f"pyfpm {name}" in examples or "pyfpm -c" in examples
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_command_not_built_yet_says_so_whatever_its_arguments(name, capsys):
    """Exit code 64 and one line that names the command."""
    assert main([name, "pool", "--option", "-x", "7"]) == 64
    captured = capsys.readouterr()
    assert captured.err == f"pyfpm: {name}: not supported yet\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "hello:app", "--reload"], "--reload"),
        (["run", "hello:app", "--interface", "asgi"], "--interface asgi"),
        (["status", "--watch"], "--watch"),
        (["status", "--format", "openmetrics"], "--format openmetrics"),
    ],
)
def test_option_not_built_yet_is_refused_and_not_ignored(arguments, named, capsys):
    """Exit code 64, and nothing else happens."""
    assert main(arguments) == 64
    assert capsys.readouterr().err == f"pyfpm: {arguments[0]}: {named}: not supported yet\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unheard-of"],
        ["--unheard-of"],
        ["status", "--unheard-of"],
        ["status", "--format", "yaml"],
        ["-t", "status"],
        ["run"],
        ["run", "hello:app", "--workers", "0"],
        ["run", "hello:app", "--listen", "unix:/x"],
        ["ping", "nowhere"],
        ["ping", "systemd:web"],
        ["request", "127.0.0.1:9000", "no-slash"],
        ["request", "127.0.0.1:9000", "/", "-H", "nonsense"],
        ["request", "127.0.0.1:9000", "/", "--param", "nonsense"],
        ["request", "127.0.0.1:9000", "/", "-d", "@/nonexistent"],
        ["options", "unheard-of"],
    ],
)
def test_wrong_usage_is_exit_code_64(arguments, capsys):
    """Usage errors are 64, not click's 2, and go to stderr."""
    assert main(arguments) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_failure_is_one_line_that_names_the_command(failing, capsys):
    """What inner code raises on purpose is a message, without a traceback."""
    failing(PyfpmError("bind /run/app.sock: permission denied"))
    assert main(["fail"]) == 1
    assert capsys.readouterr().err == "pyfpm: fail: bind /run/app.sock: permission denied\n"


@pytest.mark.parametrize("exit_code", [1, 64, 69, 77])
def test_control_failure_ends_with_its_own_exit_code(failing, exit_code, capsys):
    """The master's or the client's exit code becomes the command's."""
    failing(ControlError("no such thing", exit_code))
    assert main(["fail"]) == exit_code
    assert capsys.readouterr().err == "pyfpm: fail: no such thing\n"


def test_configuration_errors_are_printed_one_a_line(failing, capsys):
    """Every problem at once, with file and line, and exit code 78."""
    failing(
        ConfigError(
            [
                Problem("a.conf", 3, "pool:shop", "listen", "has no port"),
                Problem("b.conf", None, "", "", "no such file"),
            ]
        )
    )
    assert main(["fail"]) == 78
    assert capsys.readouterr().err.splitlines() == [
        "a.conf:3: [pool:shop] listen: has no port",
        "b.conf: no such file",
    ]


def test_defect_is_one_line_and_exit_code_70(failing, capsys):
    """An unexpected exception does not spill its traceback on the operator."""
    failing(ZeroDivisionError("x"))
    assert main(["fail"]) == 70
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("pyfpm: fail: internal error: ZeroDivisionError('x')")


def test_defect_shows_its_traceback_to_those_who_ask(failing, capsys, monkeypatch):
    """PYFPM_DEBUG=1 adds the traceback."""
    monkeypatch.setenv("PYFPM_DEBUG", "1")
    failing(ZeroDivisionError("x"))
    assert main(["fail"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_interrupt_is_exit_code_130(failing):
    """Ctrl-C ends a command as shells expect it."""
    failing(KeyboardInterrupt())
    assert main(["fail"]) == 130


def test_version_says_which_form_runs(capsys, monkeypatch):
    """For the plain form, why."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pyfpm 0.1.0 ({form.describe()})\n"
    monkeypatch.setattr(form, "reason", "the reason")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "pyfpm 0.1.0 (plain: the reason)\n"


@pytest.mark.parametrize(("value", "colour"), [("1", False), ("", None)])
def test_no_color_is_honoured(monkeypatch, value, colour):
    """NO_COLOR turns colours off even on a terminal; without it click decides."""
    seen = []

    @click.command("look")
    def look():
        seen.append(click.get_current_context().parent.color)

    monkeypatch.setenv("NO_COLOR", value)
    monkeypatch.setattr(CommandTable, "get_command", lambda self, ctx, name: look)
    assert main(["look"]) == 0
    assert seen == [colour]


def test_missing_configuration_names_the_places_and_the_remedy(tmp_path, monkeypatch, capsys):
    """Without any configuration the operator learns where pyfpm looked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYFPM_CONF", raising=False)
    monkeypatch.setattr("pyfpm.cli.invocation.SEARCHED", ("./pyfpm.conf",))
    assert main(["check"]) == 78
    assert "pyfpm init" in capsys.readouterr().err


def test_configuration_is_found_in_the_order_of_the_contract(tmp_path, monkeypatch, capsys):
    """-c wins over PYFPM_CONF, which wins over the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("pyfpm.conf", "environment.conf", "option.conf"):
        (tmp_path / name).write_text(f"[unheard-of-{name}]\n")
    monkeypatch.delenv("PYFPM_CONF", raising=False)
    assert main(["check"]) == 78
    assert "pyfpm.conf:1" in capsys.readouterr().err
    monkeypatch.setenv("PYFPM_CONF", str(tmp_path / "environment.conf"))
    assert main(["check"]) == 78
    assert "environment.conf:1" in capsys.readouterr().err
    assert main(["-c", "option.conf", "-t"]) == 78
    assert "option.conf:1" in capsys.readouterr().err


def test_configuration_errors_do_nothing_to_the_terminal(failing, capsys):
    """The file of a pool may be a tenant's, and root reads what is wrong with it."""
    failing(ConfigError([Problem("f", 1, "pool:a", "user", "no user \x1b[2J")]))
    assert main(["fail"]) == 78
    assert capsys.readouterr().err == "f:1: [pool:a] user: no user \\x1b[2J\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "no command 'statsu'; did you mean status?"),
        (["relod", "shop"], "no command 'relod'; did you mean reload?"),
        (["xyzzy"], "no command 'xyzzy'; `pyfpm --help` lists them"),
        (["-c", "", "check"], "-c names no file"),
        (["scale", "shop", "many"], "'many' is not a whole number from 1 on"),
        (["scale", "shop", "0"], "'0' is not a whole number from 1 on"),
        (["trace", "shop", "-1x"], "No such option"),
        (["trace", "shop", "x"], "'x' is not a whole number from 1 on"),
        (["run", "a:b", "--workers", "0"], "'0' is not a whole number from 1 on"),
        (["ping", "/s", "--timeout", "nan"], "'nan' is no number of seconds above 0"),
        (["ping", "/s", "--timeout=-1"], "'-1' is no number of seconds above 0"),
        (["request", "/s", "/", "--timeout", "soon"], "'soon' is no number of seconds above 0"),
    ],
)
def test_wrong_usage_says_what_would_be_right(arguments, said, capsys):
    """In words, with the command or the form that was probably meant."""
    assert main(arguments) == 64
    assert said in capsys.readouterr().err
