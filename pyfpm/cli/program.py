"""The group of all commands, and the one place where failures become messages and exit codes."""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.operation import INTERRUPTED, visible
from pyfpm.cli.unsupported import UNSUPPORTED, unsupported_command
from pyfpm.cli.version import show_version
from pyfpm.control import ExitCode
from pyfpm.errors import ConfigError, ControlError, PyfpmError

# Commands and the modules that hold them as `command`, in the order of the help page. They are
# imported when they are asked for: `pyfpm status` has no use for waitress.
COMMANDS: Mapping[str, str] = {
    "run": "pyfpm.cli.run",
    "start": "pyfpm.cli.start",
    "check": "pyfpm.cli.check",
    "status": "pyfpm.cli.status",
    "reload": "pyfpm.cli.reload",
    "restart": "pyfpm.cli.restart",
    "stop": "pyfpm.cli.stop",
    "start-pool": "pyfpm.cli.start_pool",
    "scale": "pyfpm.cli.scale",
    "trace": "pyfpm.cli.trace",
    "reopen-logs": "pyfpm.cli.reopen_logs",
    "upgrade": "pyfpm.cli.upgrade",
    "ping": "pyfpm.cli.ping",
    "request": "pyfpm.cli.request",
    "nginx-conf": "pyfpm.cli.nginx_conf",
    "apache-conf": "pyfpm.cli.apache_conf",
    "options": "pyfpm.cli.options",
    "init": "pyfpm.cli.init",
}


class CommandTable(click.Group):
    """Commands by the table above, then those that are not built yet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Every command's name."""
        return [*COMMANDS, *UNSUPPORTED]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named first in `args`; click.UsageError with what was meant."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            close = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            hint = f"did you mean {close[0]}?" if close else "`pyfpm --help` lists them"
            ctx.fail(f"no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name."""
        if cmd_name in UNSUPPORTED:
            return unsupported_command(cmd_name)
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=CommandTable,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example(
        "pyfpm run hello:app         serve an application, without any configuration",
        "pyfpm init && pyfpm start   write a configuration, and serve it",
    ),
)
@click.option(
    "-c",
    "--config",
    "config_path",
    metavar="FILE",
    help="Configuration file; else $PYFPM_CONF, ./pyfpm.conf, /etc/pyfpm/pyfpm.conf.",
)
@click.option("-t", "tests", count=True, help="Same as check; -tt same as check --dump.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and which form runs, and exit.",
)
@click.pass_context
def program(ctx: click.Context, config_path: str | None, tests: int) -> int | None:
    """Serve Python applications over FastCGI, in pools of processes."""
    if config_path == "":
        raise click.UsageError("-c names no file")
    ctx.color = False if os.environ.get("NO_COLOR") else None
    invocation = ctx.ensure_object(Invocation)
    invocation.config_path = config_path
    invocation.command = ctx.invoked_subcommand or ""
    if ctx.invoked_subcommand is not None:
        if tests:
            raise click.UsageError("-t stands alone, without a command")
        return None
    if not tests:
        click.echo(ctx.get_help(), err=True)
        return ExitCode.USAGE
    invocation.command = "check"
    check = CommandTable.get_command(program, ctx, "check")
    assert check is not None
    result: int | None = ctx.invoke(check, dump=tests > 1)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (sys.argv unless given) and return the exit code."""
    invocation = Invocation()
    try:
        result = program.main(arguments, prog_name="pyfpm", standalone_mode=False, obj=invocation)
    except click.UsageError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        return _fail(invocation, error.format_message(), error.exit_code)
    except click.Abort:
        return INTERRUPTED
    except ConfigError as error:
        click.echo(visible("\n".join(map(str, error.problems))), err=True)
        return ExitCode.CONFIG
    except ControlError as error:
        return _fail(invocation, str(error), error.exit_code)
    except PyfpmError as error:
        return _fail(invocation, str(error), ExitCode.FAILED)
    except BrokenPipeError:
        # The reader of our output is gone (`pyfpm options | head`). Python would complain once
        # more when it flushes stdout at exit, so that goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    # The boundary of the command line: a defect is one line, and more for those who ask for it.
    except Exception as error:  # noqa: BLE001
        if os.environ.get("PYFPM_DEBUG"):
            traceback.print_exc()
        message = f"internal error: {error!r} (PYFPM_DEBUG=1 shows where)"
        return _fail(invocation, message, ExitCode.INTERNAL)
    return result if isinstance(result, int) else ExitCode.DONE


def _fail(invocation: Invocation, message: str, exit_code: int) -> int:
    name = f"pyfpm: {invocation.command}: " if invocation.command else "pyfpm: "
    click.echo(name + visible(message), err=True)
    return exit_code
