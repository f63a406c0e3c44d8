"""A configuration from its file: every step in order, every problem at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyfpm.config import checks, dangers, listening, privileges, root_folder, rules, tenants, trust
from pyfpm.config.accounts import person_of
from pyfpm.config.cores import count_cores
from pyfpm.config.defaults import fill_main, fill_pool
from pyfpm.config.draft import Draft
from pyfpm.config.includes import read_sources
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.config.sections import DEFAULTS, draft_sections
from pyfpm.config.validation import validate_draft
from pyfpm.errors import ConfigError, Problem, reason_of


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
    being reloaded; unless it is so with all pools.
    """
    sources = read_sources(path, environ, text)
    problems, notices = sources.problems, sources.notices
    own_problems: list[Problem] = []
    main_draft, drafts = draft_sections(path, sources.sections, problems)
    for draft in (main_draft, *drafts):
        wrong, worth_a_word = validate_draft(draft, environ)
        problems += wrong
        notices += worth_a_word
    main = fill_main(main_draft, environ, is_root=is_root)
    cores = cores or count_cores()
    pools = [(draft, fill_pool(draft, cores=cores, is_root=is_root)) for draft in drafts]
    for draft, pool in pools:
        problems += rules.check_pool(draft, pool)
        notices += rules.notice_pool(draft, pool)
    problems += rules.check_main(main_draft, main, daemonize=daemonize)
    problems += rules.check_across(main_draft, main, pools, daemonize=daemonize)
    if check_system:
        problems += checks.check_main(main_draft, main)
        problems += checks.check_shared_logs(main_draft, main, pools, is_root=is_root)
        problems += listening.check_main(main_draft, main)
        notices += listening.notice_main(main_draft, main, is_root=is_root)
        notices += privileges.notice_main(main_draft, main, is_root=is_root)
        of_all, own_problems = _check_places(pools, is_root=is_root, spares_others=spares_others)
        problems += of_all
        for draft, pool in pools:
            problems += checks.check_pool(draft, pool, is_root=is_root, allow_root=allow_root)
            problems += listening.check_pool(draft, pool)
            notices += listening.notice_pool(draft, pool, is_root=is_root)
            notices += checks.notice_sandbox(draft, pool)
            notices += privileges.notice_pool(draft, pool, is_root=is_root)
            notices += root_folder.notice_chroot(draft, pool)
        more_problems, more_notices = _check_dangers(
            sources.files, pools, is_root=is_root, allow_root=allow_root
        )
        problems += more_problems
        notices += more_notices
    if not pools and not problems:
        problems.append(Problem(path, None, "", "", "no pool at all; add a [pool:NAME] section"))
    if problems:
        raise ConfigError(_in_order(problems, sources.files))
    return Config(
        path,
        main,
        {pool.name: pool for _, pool in pools},
        tuple(_in_order(notices, sources.files)),
        _origins([main_draft, *drafts]),
        _inherited(drafts),
        tuple(_in_order(own_problems, sources.files)),
    )


def _check_places(
    pools: Sequence[tuple[Draft, PoolOptions]], *, is_root: bool, spares_others: bool
) -> tuple[list[Problem], list[Problem]]:
    """Problems of all, and of single pools alone."""
    of_all: list[Problem] = []
    own: list[Problem] = []
    spoilt: set[str] = set()
    for draft, pool in pools:
        try:
            found = [
                *checks.check_files(draft, pool),
                *checks.check_places(draft, pool, is_root=is_root),
                *listening.check_folders(draft, pool, is_root=is_root),
                *listening.check_links(draft, pool, is_root=is_root),
            ]
        except OSError as error:  # it changed while it was looked at
            found = [draft.problem("directory", f"look at its places: {reason_of(error)}")]
        for problem in found:
            if is_root and spares_others and not checks.is_of_root_alone(problem, draft, pool):
                own.append(problem)
                spoilt.add(pool.name)
            else:
                of_all.append(problem)
    return (of_all + own, []) if len(spoilt) == len(pools) else (of_all, own)


def _check_dangers(
    files: Sequence[str],
    pools: Sequence[tuple[Draft, PoolOptions]],
    *,
    is_root: bool,
    allow_root: bool,
) -> tuple[list[Problem], list[Problem]]:
    """What is possible and hardly meant: problems and notices."""
    problems = list(trust.check_files(files, is_root=is_root, allow_root=allow_root))
    notices = list(trust.notice_files(files, is_root=is_root, allow_root=allow_root))
    people = [(draft, pool, person_of(pool, is_root=is_root)) for draft, pool in pools]
    known = [dangers.Whereabouts.of(file) for file in files]
    for draft, pool, person in people:
        notices += dangers.notice_pool(draft, pool, person, known)
    notices += dangers.notice_default_directories(people)
    notices += tenants.notice_tenants([(d, p, who) for d, p, who in people if who is not None])
    return problems, notices


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
