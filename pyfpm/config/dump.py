"""The text of `pyfpm check --dump`: every effective value, and where it comes from."""

from collections.abc import Iterator

from pyfpm.config.loading import Config
from pyfpm.config.options import MAIN, POOL, MainOptions, Option, PoolOptions, Scope

_COLUMN = 48


def render_dump(config: Config) -> str:
    """One line for each option of [pyfpm] and of every pool, with `file:line` or `default`.

    Paths are absolute and defaults computed. Options that are not built yet are marked.
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
    for field, option in scope.by_field.items():
        if option.planned:
            yield f"; {option.name}: not supported yet"
        elif option.name == "environment":
            yield from _environment(config, section, getattr(options, field))
        else:
            text = _text(option, getattr(options, field))
            yield _line(f"{option.name} = {text}", config.origin(section, option.name))


def _environment(config: Config, section: str, pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Each variable for itself, since each may come from another place."""
    if not pairs:
        yield _line("environment = ", config.origin(section, "environment"))
    for name, value in pairs:
        yield _line(f"env[{name}] = {value}", config.origin(section, f"env[{name}]"))


def _text(option: Option, value: object) -> str:
    text = "" if value is None else option.kind.format(value)
    return text.replace("\n", "\n  ")


def _line(text: str, origin: str) -> str:
    return f"{text:<{_COLUMN}} ; {origin}"
