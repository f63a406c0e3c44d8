"""`pyfpm check`: say whether the configuration can be used."""

from collections.abc import Iterator

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.operation import visible
from pyfpm.config import Config, PoolOptions, Sandbox, render_dump
from pyfpm.errors import ConfigError, SpawnError
from pyfpm.kernel.demands import require_kernel
from pyfpm.master import (
    Finding,
    SandboxError,
    Trial,
    find_log_problems,
    probe_pools,
    try_sandbox,
)
from pyfpm.units import counted

_WORDS = {"r": "read", "w": "write", "x": "execute"}


@click.command(
    "check",
    short_help="Validate the configuration.",
    epilog=example("pyfpm check", "pyfpm check --dump", "pyfpm check --sandbox shop"),
)
@click.option("-R", "--allow-root", is_flag=True, help="As for a service started with -R.")
@click.option("--dump", is_flag=True, help="Print every effective value and where it comes from.")
@click.option("--sandbox", metavar="POOL", help="Try what a pool could open inside its sandbox.")
@click.pass_obj
def command(invocation: Invocation, *, allow_root: bool, dump: bool, sandbox: str | None) -> None:
    """Validate the configuration, without creating or starting anything.

    As root, also try each pool's interpreter and folder with the pool's identity; otherwise try
    those of pools with rlimit_as or a sandbox. Problems go to stderr, one a line with file and line
    number, and the exit code is 78.

    With --sandbox a process with the identity and the sandbox of POOL opens what its configuration,
    environment, links and .pth files name, and says what was refused.
    """
    config = invocation.load_config(allow_root=allow_root)
    problems = find_log_problems(config)
    require_kernel()
    problems += probe_pools(config)
    if problems:
        raise ConfigError(problems)
    for notice in config.notices:
        click.echo(f"notice: {visible(str(notice))}", err=True)
    if dump:
        click.echo(render_dump(config), nl=False)
        return
    if sandbox is not None:
        _show_sandbox(config, sandbox)
        return
    click.echo(f"{config.path}: {counted(len(config.pools), 'pool')}, no problems")


def _show_sandbox(config: Config, name: str) -> None:
    if name not in config.pools:
        known = ", ".join(config.pools)
        raise click.BadParameter(f"no pool {name!r}; there are: {known}", param_hint="--sandbox")
    options = config.pools[name]
    try:
        trial = try_sandbox(config, options)
    except SandboxError as error:
        raise ConfigError([config.problem(f"pool:{name}", error.key, error.reason)]) from error
    except SpawnError as error:
        raise ConfigError([config.problem(f"pool:{name}", "sandbox", str(error))]) from error
    for text in render_trial(options, trial):
        click.echo(text)


def render_trial(options: PoolOptions, trial: Trial) -> Iterator[str]:
    """What was tried, line by line: what is refused comes first."""
    mode = f"sandbox = {options.sandbox.value}"
    if options.sandbox is Sandbox.OFF:
        mode += ", this is what `on` would mean"
    yield f"pool {options.name}, user {trial.user}, Landlock ABI {trial.abi}, {mode}"
    yield from _list(
        "refused by the sandbox, until a list has it:",
        [(one, one.refused_by_sandbox) for one in trial.findings],
    )
    yield from _list(
        "refused by owners and modes, with and without a sandbox:",
        [(one, one.refused_by_modes) for one in trial.findings],
    )
    yield from _list(
        "can be read and not written; list the folder in sandbox.write if it is to be written:",
        [(one, {"w"} if one.loses_writing else set()) for one in trial.findings],
    )
    yield from _list("works:", [(one, set(one.inside)) for one in trial.findings])
    if "TMPDIR" not in dict(options.environment):
        yield "  read, write   $TMPDIR  (a private folder that is made when the pool starts)"


def _list(title: str, findings: list[tuple[Finding, set[str]]]) -> Iterator[str]:
    lines = [_line(finding, letters) for finding, letters in findings if letters]
    if lines:
        yield from ("", title, *lines)


def _line(finding: Finding, letters: set[str]) -> str:
    words = ", ".join(word for letter, word in _WORDS.items() if letter in letters)
    return f"  {words:<13} {_clean(finding.path)}  ({_clean(finding.why)})"


def _clean(name: str) -> str:
    """Names of files are for the pool's user to choose, and this is root's terminal."""
    readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return visible(readable).replace("\n", "\\x0a")
