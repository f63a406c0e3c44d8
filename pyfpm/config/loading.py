"""A configuration from its file: every step in order, every problem at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyfpm.config import rules
from pyfpm.config.cores import count_cores
from pyfpm.config.defaults import fill_main, fill_pool
from pyfpm.config.draft import Draft
from pyfpm.config.findings import Findings
from pyfpm.config.includes import read_sources
from pyfpm.config.machine import check_machine
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.config.sections import DEFAULTS, draft_sections
from pyfpm.config.validation import validate_draft
from pyfpm.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that can be used. `pools` are in file order.

    `notices` are what deserves a word but stops nothing. `origins` has the `file:line` of every
    value that some file set, by section and option name, and of variables by `env[NAME]`;
    `inherited` says which of them [pool-defaults] set. `own_problems` keep single pools from
    booting, and no other: see load_config.
    """

    path: str
    main: MainOptions
    pools: dict[str, PoolOptions]
    notices: tuple[Problem, ...]
    origins: Mapping[tuple[str, str], str]
    inherited: frozenset[tuple[str, str]] = frozenset()
    own_problems: tuple[Problem, ...] = ()

    def origin(self, section: str, key: str) -> str:
        """`file:line` of what set a key (an option's name, not an alias), or `default`."""
        return self.origins.get((section, key), "default")

    def problem(self, section: str, key: str, message: str) -> Problem:
        """A problem with a value, at the line that set it, else at the header of its section."""
        place = self.origins.get((section, key)) or self.origin(section, "")
        file, _, line = place.rpartition(":")
        if (section, key) in self.inherited:
            pool = section.removeprefix("pool:")
            section, message = DEFAULTS, f"in pool {pool}: {message}"
        if file and line.isdecimal():
            return Problem(file, int(line), section, key, message)
        return Problem(self.path, None, section, key, message)


def load_config(
    path: str,
    environ: Mapping[str, str],
    *,
    is_root: bool,
    allow_root: bool = False,
    daemonize: bool = False,
    check_system: bool = True,
    spares_others: bool = False,
    is_running: bool = False,
    cores: int | None = None,
    text: str | None = None,
) -> Config:
    """Read and check `path` and what it includes; raises ConfigError with every problem.

    `environ` is the master's environment. `is_root` says whether the master runs as root, and
    `allow_root` whether its pools may too; `daemonize` that it goes to the background whatever the
    file says. Without `check_system` nothing but the files is looked at: for clients of a running
    master, whose own user cannot see what the pools' users can. `cores` replaces the number of
    processors that defaults are computed from, `text` what stands in the file.

    A folder or file of a pool can go away, or be closed, by the hand of its tenant; and where its
    sockets and logs are to be, anybody may have put something. With `spares_others` that is a
    problem of this pool alone, so that nobody keeps a service from starting, or the others from
    being reloaded. Where it is so with all pools nothing could be started; but a service that
    `is_running` may have pools that are to end, and settings of its own that are to change.
    """
    sources = read_sources(path, environ, text)
    found = Findings(sources.problems, sources.notices)
    main_draft, drafts = draft_sections(path, sources.sections, found.problems)
    for draft in (main_draft, *drafts):
        wrong, worth_a_word = validate_draft(draft, environ)
        found.problems += wrong
        found.notices += worth_a_word
    main = fill_main(main_draft, environ, is_root=is_root)
    cores = cores or count_cores()
    pools = [(draft, fill_pool(draft, cores=cores, is_root=is_root)) for draft in drafts]
    _check_text(found, (main_draft, main), pools, daemonize=daemonize)
    if check_system:
        check_machine(
            found,
            sources.files,
            (main_draft, main),
            pools,
            is_root=is_root,
            allow_root=allow_root,
            spares_others=spares_others,
            spares_all=is_running,
        )
    if not pools and not found.problems:
        nothing = "no pool at all; add a [pool:NAME] section"
        found.problems.append(Problem(path, None, "", "", nothing))
    if found.problems:
        raise ConfigError(_in_order(found.problems, sources.files))
    return Config(
        path,
        main,
        {pool.name: pool for _, pool in pools},
        tuple(_in_order(found.notices, sources.files)),
        _origins([main_draft, *drafts]),
        _inherited(drafts),
        tuple(_in_order(found.own_problems, sources.files)),
    )


def _check_text(
    found: Findings,
    main: tuple[Draft, MainOptions],
    pools: list[tuple[Draft, PoolOptions]],
    *,
    daemonize: bool,
) -> None:
    """What root wrote, whatever the machine has."""
    for draft, pool in pools:
        found.problems += rules.check_pool(draft, pool)
        found.notices += rules.notice_pool(draft, pool)
    found.problems += rules.check_main(*main, daemonize=daemonize)
    found.problems += rules.check_across(*main, pools, daemonize=daemonize)


def find_control_path(path: str, environ: Mapping[str, str], *, is_root: bool) -> str:
    """Where the master of this configuration answers, as far as the files can be understood.

    For clients: a running master is to be asked also while somebody edits its files. Problems
    count only where they concern `control` itself; ConfigError then.
    """
    sources = read_sources(path, environ, None)
    main_draft, _ = draft_sections(path, sources.sections, sources.problems)
    wrong, _ = validate_draft(main_draft, environ)
    unreadable = [problem for problem in sources.problems if problem.line is None]
    concerned = [problem for problem in wrong if problem.key == "control"]
    if concerned or (unreadable and "control" not in main_draft.entries):
        raise ConfigError([*unreadable, *concerned])
    return fill_main(main_draft, environ, is_root=is_root).control


def load_text(
    text: str,
    path: str,
    environ: Mapping[str, str],
    *,
    is_root: bool,
    allow_root: bool = False,
    check_system: bool = True,
) -> Config:
    """As `load_config`, for a configuration that is no file: `path` names it in messages.

    Relative paths in `text` start from the folder of `path`: for a bare name such as `<run>`, the
    current one.
    """
    return load_config(
        path,
        environ,
        is_root=is_root,
        allow_root=allow_root,
        check_system=check_system,
        text=text,
    )


def _in_order(problems: Iterable[Problem], files: list[str]) -> list[Problem]:
    """Each problem once, in the order of the files and their lines.

    What stands in [pool-defaults] is checked for every pool, and wrong only once.
    """
    place = {file: number for number, file in enumerate(files)}
    return sorted(
        dict.fromkeys(problems),
        key=lambda problem: (place.get(problem.file, len(place)), problem.line or 0),
    )


def _origins(drafts: list[Draft]) -> dict[tuple[str, str], str]:
    origins = {}
    for draft in drafts:
        section = draft.header.name
        origins[section, ""] = draft.header.origin
        for option, entry in draft.entries.items():
            origins[section, option] = entry.origin
        for name, (_, entry) in draft.variable_settings().items():
            origins[section, f"env[{name}]"] = entry.origin
    return origins


def _inherited(drafts: list[Draft]) -> frozenset[tuple[str, str]]:
    entries = [
        (draft.header.name, name, entry)
        for draft in drafts
        for name, entry in (
            *draft.entries.items(),
            *((f"env[{name}]", entry) for name, (_, entry) in draft.variable_settings().items()),
        )
    ]
    return frozenset((pool, name) for pool, name, entry in entries if entry.section != pool)
