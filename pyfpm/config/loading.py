"""A configuration from its file: every step in order, every problem at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyfpm.config import checks, listening, privileges, root_folder, rules
from pyfpm.config.cores import count_cores
from pyfpm.config.defaults import fill_main, fill_pool
from pyfpm.config.draft import Draft
from pyfpm.config.includes import read_sources
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.config.sections import draft_sections
from pyfpm.config.validation import validate_draft
from pyfpm.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that can be used. `pools` are in file order.

    `notices` are what deserves a word but stops nothing. `origins` has the `file:line` of every
    value that some file set, by section and option name, and of variables by `env[NAME]`.
    """

    path: str
    main: MainOptions
    pools: dict[str, PoolOptions]
    notices: tuple[Problem, ...]
    origins: Mapping[tuple[str, str], str]

    def origin(self, section: str, key: str) -> str:
        """`file:line` of what set a key (an option's name, not an alias), or `default`."""
        return self.origins.get((section, key), "default")


def load_config(
    path: str,
    environ: Mapping[str, str],
    *,
    is_root: bool,
    allow_root: bool = False,
    daemonize: bool = False,
    check_system: bool = True,
    cores: int | None = None,
    text: str | None = None,
) -> Config:
    """Read and check `path` and what it includes; raises ConfigError with every problem.

    `environ` is the master's environment. `is_root` says whether the master runs as root, and
    `allow_root` whether its pools may too; `daemonize` that it goes to the background whatever the
    file says. Without `check_system` nothing but the files is looked at: for clients of a running
    master, whose own user cannot see what the pools' users can. `cores` replaces the number of
    processors that defaults are computed from, `text` what stands in the file.
    """
    sources = read_sources(path, environ, text)
    problems, notices = sources.problems, sources.notices
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
        for draft, pool in pools:
            problems += checks.check_pool(draft, pool, is_root=is_root, allow_root=allow_root)
            problems += listening.check_pool(draft, pool, is_root=is_root)
            notices += listening.notice_pool(draft, pool, is_root=is_root)
            notices += checks.notice_sandbox(draft, pool)
            notices += privileges.notice_pool(draft, pool, is_root=is_root)
            notices += root_folder.notice_chroot(draft, pool)
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
    )


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
