"""The text of `pyfpm check --dump`: every effective value, and where it comes from."""

from collections.abc import Iterator

from pyfpm.config.environment import format_environment
from pyfpm.config.expansion import protect, variable_reference
from pyfpm.config.ineffective import Ineffective, find_ineffective
from pyfpm.config.loading import Config
from pyfpm.config.options import MAIN, POOL, MainOptions, Option, PoolOptions, Scope

_COLUMN = 48


def render_dump(config: Config) -> str:
    """One line for each option of [pyfpm] and of every pool, with `file:line` or `default`.

    Paths are absolute and defaults computed. Options that are not built yet are marked. What has no
    effect, and is not the pool's own word, is a comment: who loads the text gets no notice of what
    nobody has set for that pool.
    """
    lines = list(_section(config, "pyfpm", MAIN, config.main))
    for name, pool in config.pools.items():
        lines.append("")
        lines += _section(config, f"pool:{name}", POOL, pool)
    return "\n".join(lines) + "\n"


def _section(
    config: Config, section: str, scope: Scope, options: MainOptions | PoolOptions
) -> Iterator[str]:
    yield _line(f"[{section}]", config.origin(section, ""))
    vain = {one.option: one for one in _not_own(config, section, options)}
    for field, option in scope.by_field.items():
        if option.planned:
            yield f"; {option.name}: not supported yet"
        elif option.name == "environment":
            yield from _environment(config, section, getattr(options, field))
        else:
            text = f"{option.name} = {_text(option, getattr(options, field))}"
            origin = config.origin(section, option.name)
            if option.name in vain:
                text = f"; {text}".replace("\n", "\n; ")
                origin = f"{origin}, {vain[option.name].fact}"
            yield _line(text, origin)


def _not_own(
    config: Config, section: str, options: MainOptions | PoolOptions
) -> Iterator[Ineffective]:
    """What has no effect in a pool and was not set by the pool itself."""
    if isinstance(options, PoolOptions):
        for one in find_ineffective(options):
            place = section, one.option
            if place not in config.origins or place in config.inherited:
                yield one


def _environment(config: Config, section: str, pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Each variable for itself, since each may come from another place.

    A value that is `$NAME` to the letter would ask for a variable of the master there.
    """
    literal = {name: value for name, value in pairs if variable_reference(value)}
    if literal or not pairs:
        origin = config.origin(section, f"env[{next(iter(literal))}]" if literal else "environment")
        yield _line(f"environment = {_protect(format_environment(literal))}", origin)
    for name, value in pairs:
        if name not in literal:
            origin = config.origin(section, f"env[{name}]")
            yield _line(f"env[{name}] = {_protect(value)}", origin)


def _text(option: Option, value: object) -> str:
    return "" if value is None else _protect(option.kind.format(value))


def _protect(text: str) -> str:
    """As it is written in a file: nothing is filled in, and lines go on where they are indented."""
    return protect(text).replace("\n", "\n  ")


def _line(text: str, origin: str) -> str:
    return f"{text:<{_COLUMN}} ; {origin}"
